//! The log for other programs: JSON lines, CSV, OCSF.

mod csv;
mod ocsf;

use std::{io::Write, ops::ControlFlow};

use super::{
    error::AuditError,
    read::{Filter, Line, LogSource, Order, Page, read},
};

/// A format to export in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The records as they are, one a line.
    Jsonl,
    /// A table for spreadsheets; no cell can start a formula.
    Csv,
    /// OCSF API Activity events, one a line.
    Ocsf,
}

/// Writes what `filter` takes to `out`, oldest first, and says how many records that was; `progress` hears the count
/// now and then.
///
/// # Errors
/// When the source cannot be read or `out` not be written.
pub async fn export(
    source: &LogSource,
    filter: &Filter,
    format: Format,
    out: &mut (dyn Write + Send),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<u64, AuditError> {
    let mut count = 0u64;
    let mut failed = None;
    let mut buffer = Vec::with_capacity(4096);
    if format == Format::Csv {
        csv::header(&mut buffer);
    }
    let mut each = |line: Line<'_>| {
        match format {
            Format::Jsonl => {
                buffer.extend_from_slice(line.raw.as_bytes());
                buffer.push(b'\n');
            }
            Format::Csv => csv::row(&mut buffer, line.record),
            Format::Ocsf => ocsf::event(&mut buffer, line.record),
        }
        count += 1;
        if count.is_multiple_of(4096) {
            progress(count);
        }
        if buffer.len() >= FLUSH
            && let Err(error) = out.write_all(&buffer).map(|()| buffer.clear())
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    read(source, filter, Page { order: Order::OldestFirst, limit: None }, &mut each).await?;
    match failed {
        Some(error) => Err(AuditError::Output(error)),
        None => out.write_all(&buffer).and_then(|()| out.flush()).map(|()| count).map_err(AuditError::Output),
    }
}

/// What is gathered before it is written.
const FLUSH: usize = 64 << 10;
