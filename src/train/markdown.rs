//! Tables as Markdown has them.

/// Rows of cells as a Markdown table with aligned columns; the first row is the head.
pub fn markdown<R: AsRef<[String]>>(cells: &[R]) -> String {
    let columns = cells.first().map_or(0, |row| row.as_ref().len());
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row.as_ref()[column].chars().count());
        widths.max().unwrap_or(0).max(3)
    };
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let pad = " ".repeat(width(column) - cell.chars().count());
            // Names stand to the left, numbers to the right.
            text += &match column {
                0 => format!("| {cell}{pad} "),
                _ => format!("| {pad}{cell} "),
            };
        }
        text += "|\n";
        if index == 0 {
            for column in 0..columns {
                let dashes = "-".repeat(width(column));
                text += &match column {
                    0 => format!("| {dashes} "),
                    _ => format!("| {}: ", &dashes[1..]),
                };
            }
            text += "|\n";
        }
    }
    text
}
