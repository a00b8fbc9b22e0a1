//! Text tables.

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// A table with a header; columns are as wide as their widest cell and separated by two spaces.
pub fn table(header: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|(name, _)| width(name)).collect();
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, w), (_, align)) in cells.zip(&widths).zip(header) {
            let space = " ".repeat(w - width(cell));
            let (before, after) =
                if *align == Align::Right { (space, String::new()) } else { (String::new(), space) };
            line.push_str(&format!("  {before}{cell}{after}"));
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut header.iter().map(|(name, _)| *name));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A bar of `fraction` (0 to 1) of `width` characters, in eighths of a character.
pub fn bar(fraction: f64, width: usize) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 8 · width
    let eighths = (fraction.clamp(0.0, 1.0) * 8.0 * width as f64).round() as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + rest
}

/// A block with `fraction` (0 to 1) of the height of a line, in eighths.
pub fn level(fraction: f64) -> char {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 8
    let eighths = (fraction.clamp(0.0, 1.0) * 8.0).round() as usize;
    [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][eighths]
}

/// A number with three decimals, or in scientific notation if it is very small or large.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else if (1e-3..1e4).contains(&value.abs()) {
        format!("{value:.3}")
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [vec!["⏎".to_owned(), "0.5".to_owned()], vec!["dinner".to_owned(), "12.25".to_owned()]];
        let text = table(&[("word", Align::Left), ("norm", Align::Right)], &rows);
        assert_eq!(text, "  word     norm\n  ⏎         0.5\n  dinner  12.25\n");
    }

    #[test]
    fn bars_have_eighths() {
        assert_eq!(bar(1.0, 3), "███");
        assert_eq!(bar(0.5, 3), "█▌");
        assert_eq!(bar(0.0, 3), "");
        assert_eq!(bar(f64::NAN, 3), "");
    }

    #[test]
    fn levels_have_eighths() {
        assert_eq!(
            [0.0, 0.06, 0.07, 0.5, 1.0, 2.0, f64::NAN].map(level),
            [' ', ' ', '▁', '▄', '█', '█', ' ']
        );
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0.0, 0.5, -12.0, 1.23e-9, 4.0e6].map(number),
            ["0", "0.500", "-12.000", "1.23e-9", "4.00e6"]
        );
    }
}
