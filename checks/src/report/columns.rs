//! Tables of plain text: columns that are aligned to the left or to the right.

/// The side to which the cells of a column are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// The rows as lines of text, with their columns aligned. The first row is the heading.
pub fn line_up<const N: usize>(sides: [Alignment; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), side) in row.iter().zip(widths).zip(sides) {
            let cell = match side {
                Alignment::Left => format!("{cell:<width$}   "),
                Alignment::Right => format!("{cell:>width$}   "),
            };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = [["name", "states"], ["rivals", "76,210"], ["a", "1"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let text = line_up([Alignment::Left, Alignment::Right], &rows);
        assert_eq!(text, "name     states\nrivals   76,210\na             1\n");
    }
}
