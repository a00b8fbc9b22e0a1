//! TensorBoard event files: TFRecords of protocol buffers, framed as in TensorFlow's `record_writer.cc`, with the parts of
//! `event.proto` and `summary.proto` that are needed.

use prost::Message;

/// The first record of a file, which TensorBoard requires.
pub fn version(wall_time: f64) -> Vec<u8> {
    let what = What::FileVersion("brain.Event:2".into());
    record(&Event { wall_time, step: 0, what: Some(what) }.encode_to_vec())
}

/// A record with a number at an update. `wall_time` is in seconds since 1970.
#[allow(clippy::cast_possible_truncation)] // the format has single precision
pub fn scalar(wall_time: f64, step: u64, tag: &str, value: f64) -> Vec<u8> {
    summary(wall_time, step, tag, Content::SimpleValue(value as f32))
}

/// A record with a PNG of `width` by `height` pixels at an update.
pub fn image(wall_time: f64, step: u64, tag: &str, (width, height): (usize, usize), png: Vec<u8>) -> Vec<u8> {
    let size = |n: usize| i32::try_from(n).expect("an image that fits in memory");
    let image = Image { height: size(height), width: size(width), colorspace: 3, encoded: png };
    summary(wall_time, step, tag, Content::Image(image))
}

/// The records of a file without the events that `keep` refuses, by their update and tag. What comes after a damaged or torn record
/// is left out.
pub fn keep(file: &[u8], keep: impl Fn(u64, &str) -> bool) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::new(), file);
    while let Some((whole, event, others)) = next(rest) {
        let tag = match &event.what {
            Some(What::Summary(summary)) => summary.value.first().map(|value| value.tag.as_str()),
            _ => None,
        };
        if tag.is_none_or(|tag| keep(event.step.try_into().unwrap_or(0), tag)) {
            kept.extend(whole);
        }
        rest = others;
    }
    kept
}

/// The first record, what it holds, and the others.
fn next(file: &[u8]) -> Option<(&[u8], Event, &[u8])> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    let (data, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (check_of_data, rest) = rest.split_first_chunk::<4>()?;
    if *check != masked(length) || *check_of_data != masked(data) {
        return None;
    }
    Some((&file[..file.len() - rest.len()], Event::decode(data).ok()?, rest))
}

fn summary(wall_time: f64, step: u64, tag: &str, content: Content) -> Vec<u8> {
    let value = Value { tag: tag.into(), content: Some(content) };
    let what = What::Summary(Summary { value: vec![value] });
    let step = i64::try_from(step).expect("updates can be counted");
    record(&Event { wall_time, step, what: Some(what) }.encode_to_vec())
}

/// Length, its checksum, data, its checksum; all little-endian.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(&length));
    record.extend(data);
    record.extend(masked(data));
    record
}

/// CRC-32C, rotated and shifted, so that the checksum of data with checksums is not trivial.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Content", tags = "2, 4")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    #[prost(message, tag = "4")]
    Image(Image),
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnolis_masked() {
        // CRC-32C("123456789") = e3069283 (RFC 3720, B.4 has the polynomial; the check value is the catalog's).
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let expected = 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(u32::from_le_bytes(masked(b"123456789")), expected);
    }

    #[test]
    fn the_first_record_is_what_tensorflow_writes() {
        let record = version(1.0);
        assert_eq!(record[..8], 24u64.to_le_bytes());
        assert_eq!(record[8..12], masked(&24u64.to_le_bytes()));
        // wall_time 1.0, no step, "brain.Event:2".
        let data = [&[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x1a, 13][..], b"brain.Event:2"].concat();
        assert_eq!(record[12..36], data);
        assert_eq!(record[36..], masked(&data));
    }

    #[test]
    fn events_are_left_out_by_update_and_tag() {
        let parts =
            [version(1.0), scalar(2.0, 4, "a", 0.5), scalar(3.0, 5, "a", 0.25), scalar(3.0, 5, "b", 1.0)];
        let whole = parts.concat();
        assert_eq!(keep(&whole, |_, _| true), whole);
        let expected = [&parts[0][..], &parts[1], &parts[3]].concat();
        assert_eq!(keep(&whole, |step, tag| step < 5 || tag == "b"), expected);
        // A torn or changed record and what follows it.
        assert_eq!(keep(&whole[..whole.len() - 1], |_, _| true), parts[..3].concat());
        let mut changed = whole.clone();
        changed[parts[0].len() + 14] ^= 1;
        assert_eq!(keep(&changed, |_, _| true), parts[0]);
    }

    #[test]
    fn a_number_comes_back_with_tag_and_step() {
        let record = scalar(2.5, 300, "train/loss_bits", 0.75);
        let event = Event::decode(&record[12..record.len() - 4]).unwrap();
        assert_eq!((event.wall_time, event.step), (2.5, 300));
        let Some(What::Summary(summary)) = event.what else { panic!("a summary") };
        assert_eq!(summary.value[0].tag, "train/loss_bits");
        assert_eq!(summary.value[0].content, Some(Content::SimpleValue(0.75)));
    }
}
