//! Tables, bars, sizes and times for people.

/// How a cell is meant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Head,
    /// All is well.
    Good,
    /// Something is under way or will need attention.
    Warning,
    /// Something is wrong.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Head => "1",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
        }
    }

    /// The text, coloured if it may be.
    pub(crate) fn paint(self, text: &str, colour: bool) -> String {
        match self.code() {
            code if colour && !code.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// A cell of a table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        let text = text.into();
        Self { text, tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// A head row of a table.
pub(crate) fn head(names: &[&str]) -> Vec<Cell> {
    let cell = |name: &&str| Cell::new(*name, Tone::Head);
    names.iter().map(cell).collect()
}

/// A table with aligned columns.
pub(crate) fn table(rows: &[Vec<Cell>], colour: bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.text.chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let filled = row.iter().rposition(|cell| !cell.text.is_empty());
        let cells = &row[..filled.map_or(0, |last| last + 1)];
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            text.push_str(&cell.tone.paint(&cell.text, colour));
            if column + 1 < cells.len() {
                let space = width + 3 - cell.text.chars().count();
                text.push_str(&" ".repeat(space));
            }
        }
        text.push('\n');
    }
    text
}

/// A bar of a fixed width, full if there is nothing to do.
pub(crate) fn progress_bar(done: u64, total: u64, width: usize) -> String {
    let filled = share(done, total, width).unwrap_or(width);
    let head = if filled < width { ">" } else { "" };
    format!("{:<width$}", format!("{}{head}", "=".repeat(filled)))
}

/// How full something is: a bar and its percentage.
pub(crate) fn fill_bar(used: u64, total: u64, width: usize) -> String {
    let Some(filled) = share(used, total, width) else {
        return String::new();
    };
    let percent = share(used, total, 100).unwrap_or(0);
    let bar = "#".repeat(filled);
    format!("[{bar:.<width$}] {percent:>3}%")
}

/// `part` of `whole` in `steps`, rounded down; none of nothing.
fn share(part: u64, whole: u64, steps: usize) -> Option<usize> {
    let scaled = u128::from(part.min(whole)) * steps as u128;
    let share = scaled.checked_div(u128::from(whole))?;
    usize::try_from(share).ok()
}

/// A size.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut scale: u64 = 1;
    while unit + 1 < UNITS.len() && count / scale >= 1024 {
        (scale, unit) = (scale * 1024, unit + 1);
    }
    let whole = count / scale;
    if unit == 0 || whole >= 100 {
        return format!("{whole} {}", UNITS[unit]);
    }
    let tenth = count % scale / (scale / 10).max(1);
    format!("{whole}.{} {}", tenth.min(9), UNITS[unit])
}

/// A length of time.
pub(crate) fn seconds(count: u64) -> String {
    match count {
        0..=119 => format!("{count} s"),
        120..=7199 => format!("{} min", count / 60),
        7200..=172_799 => format!("{} h", count / 3600),
        _ => format!("{} d", count / 86_400),
    }
}

/// A number with the word that fits it.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{count} {word}")
}

#[cfg(test)]
mod tests {
    use super::{Cell, Tone, bytes, fill_bar, head, progress_bar, seconds, table};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            head(&["A", "LONG", "C"]),
            vec!["wide cell".into(), "x".into(), Cell::default()],
        ];
        assert_eq!(table(&rows, false), "A           LONG   C\nwide cell   x\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = [vec![Cell::new("no", Tone::Bad), "x".into()]];
        assert_eq!(table(&rows, true), "\x1b[31mno\x1b[0m   x\n");
    }

    #[test]
    fn bars_fill_from_the_left() {
        assert_eq!(progress_bar(0, 4, 8), ">       ");
        assert_eq!(progress_bar(1, 4, 8), "==>     ");
        assert_eq!(progress_bar(4, 4, 8), "========");
        assert_eq!(progress_bar(0, 0, 8), "========");
        assert_eq!(fill_bar(1, 4, 8), "[##......]  25%");
        assert_eq!(fill_bar(5, 4, 8), "[########] 100%");
        assert_eq!(fill_bar(0, 0, 8), "");
    }

    #[test]
    fn sizes_have_a_digit_where_it_tells_something() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(2 * 1024 - 1), "1.9 KiB");
        assert_eq!(bytes(300 << 20), "300 MiB");
        assert_eq!(bytes(u64::MAX), "16383 PiB");
    }

    #[test]
    fn times_are_in_the_unit_that_fits() {
        assert_eq!(seconds(119), "119 s");
        assert_eq!(seconds(120), "2 min");
        assert_eq!(seconds(7200), "2 h");
        assert_eq!(seconds(30 * 86_400), "30 d");
    }
}
