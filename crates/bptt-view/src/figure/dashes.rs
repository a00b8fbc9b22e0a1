//! Dashed lines for pixels. kuva enlarges a PNG's lines, but neither the dashes in them nor, from one point of a line to the
//! next, does it remember how far a dash has come.

use kuva::render::render::{Primitive, Scene};

/// The scene with every dashed line as the dashes it is made of.
pub(super) fn cut(scene: &Scene) -> Scene {
    let mut elements = Vec::with_capacity(scene.elements.len());
    for element in &scene.elements {
        match element {
            Primitive::Line { x1, y1, x2, y2, stroke, stroke_width, stroke_dasharray: Some(lengths) } => {
                let points = [(*x1, *y1), (*x2, *y2)];
                elements.extend(strokes(&points, lengths, stroke, *stroke_width));
            }
            Primitive::PolyLine { points, stroke, stroke_width, stroke_dasharray: Some(lengths) } => {
                elements.extend(strokes(points, lengths, stroke, *stroke_width));
            }
            other => elements.push(other.clone()),
        }
    }
    Scene {
        background_color: scene.background_color.clone(),
        text_color: scene.text_color.clone(),
        font_family: scene.font_family.clone(),
        elements,
        ..Scene::new(scene.width, scene.height)
    }
}

/// The dashes of a line through `points`, as lines.
fn strokes(
    points: &[(f64, f64)],
    lengths: &str,
    stroke: &kuva::render::color::Color,
    stroke_width: f64,
) -> Vec<Primitive> {
    let lengths: Vec<f64> = lengths.split([' ', ',']).filter_map(|length| length.parse().ok()).collect();
    let line = |points| {
        let stroke = stroke.clone();
        Primitive::PolyLine { points, stroke, stroke_width, stroke_dasharray: None }
    };
    dashes(points, &lengths).into_iter().map(line).collect()
}

/// What is left of a line through `points` if it is drawn and left out in turn for each of `lengths`.
fn dashes(points: &[(f64, f64)], lengths: &[f64]) -> Vec<Vec<(f64, f64)>> {
    if lengths.iter().sum::<f64>() <= 0.0 {
        return vec![points.to_vec()];
    }
    let mut all = Vec::new();
    let mut dash: Vec<(f64, f64)> = points.first().copied().into_iter().collect();
    let (mut i, mut left) = (0, lengths[0]);
    for ends in points.windows(2) {
        let (mut from, to) = (ends[0], ends[1]);
        loop {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            let drawn = i % 2 == 0;
            if length <= left {
                left -= length;
                if drawn {
                    dash.push(to);
                }
                break;
            }
            let at = (from.0 + dx * left / length, from.1 + dy * left / length);
            if drawn {
                dash.push(at);
                all.push(std::mem::take(&mut dash));
            } else {
                dash = vec![at];
            }
            i += 1;
            (from, left) = (at, lengths[i % lengths.len()]);
        }
    }
    if dash.len() > 1 {
        all.push(dash);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_around_corners() {
        let points = [(0.0, 0.0), (3.0, 0.0), (3.0, 5.0)];
        let expected =
            [vec![(0.0, 0.0), (2.0, 0.0)], vec![(3.0, 0.0), (3.0, 2.0)], vec![(3.0, 3.0), (3.0, 5.0)]];
        assert_eq!(dashes(&points, &[2.0, 1.0]), expected);
        assert_eq!(dashes(&points, &[]), [points.to_vec()]);
    }
}
