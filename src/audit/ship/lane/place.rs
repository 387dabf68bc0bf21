//! Where a journal goes on being shipped: by what Redis says, by the stream itself, and by what this side has noted down.

use redis::Value;

use super::{Lane, Place, Stuck};
use crate::audit::{
    chain::{Seal, text},
    error::AuditError,
    event::Event,
    journal::{
        FrameKind, folder,
        scan::{SegmentReader, Step},
    },
    mark::{self, Mark},
    read::stream::entries,
    stream::{Cursor, Keys, Layouts, Link},
};

/// Entries looked through at a time for our last one.
const PAGE: usize = 1000;

impl Lane {
    /// Asks Redis where this sidecar stands, and goes there in the journal.
    pub(super) async fn find_place(&mut self, link: &mut Link, say: &mut (dyn FnMut(Event) + Send)) -> Result<(), Stuck> {
        self.mark();
        let layouts = Layouts::join(link, &self.stream).await?;
        self.homes = layouts.homes(&self.sidecar).collect();
        let raw: Option<String> = link.ask(redis::cmd("HGET").arg(&self.keys.cursors).arg(&self.sidecar)).await?;
        let noted = layouts.reached(link, &self.sidecar).await?;
        self.batch.clear();
        self.place = None;
        self.unsure = false;
        let cursor = raw.clone().unwrap_or_default();
        let shipped_before = self.shipped_before();
        let known = |cursor: &Cursor| shipped_before.as_ref().is_none_or(|before| before.seq <= cursor.seq);
        let reached = if raw.is_some() || noted.as_ref().is_some_and(known) {
            noted
        } else {
            // Never shipped, or the cursor has gone: the stream itself may know.
            self.last_in_stream(link).await?.or(noted)
        };
        if raw.is_none() && reached.is_none() && shipped_before.is_some() {
            let detail =
                "Redis has lost the audit stream and how far this sidecar had shipped; what the journal still holds is shipped again";
            tracing::warn!(sidecar = self.sidecar, detail);
            say(Event::system("stream-lost").detail(detail));
        }
        let from = match reached {
            None => self.oldest()?,
            Some(reached) => match self.after(&reached)? {
                Some(reader) => Some(reader),
                None => self.elsewhere(&reached, shipped_before.as_ref(), say)?,
            },
        };
        let Some(reader) = from else { return Ok(()) };
        if let Some(journal) = &self.journal {
            journal.shipping_stands_at((reader.header.ordinal, reader.at()));
        }
        self.place = Some(Place { reader, cursor });
        Ok(())
    }

    /// Where to begin when the record that Redis names is not in this journal.
    fn elsewhere(
        &mut self,
        reached: &Cursor,
        shipped_before: Option<&Cursor>,
        say: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Option<SegmentReader>, Stuck> {
        // The journal begins behind it: what lay between is gone.
        if let Some(oldest) = self.oldest()?
            && oldest.header.first_seq > reached.seq.saturating_add(1)
        {
            let detail = format!(
                "records {} to {} were removed from the journal before the stream had them",
                reached.seq + 1,
                oldest.header.first_seq - 1
            );
            tracing::error!(sidecar = self.sidecar, detail);
            say(Event::system("stream-gap").detail(detail));
            return Ok(Some(oldest));
        }
        // The stream has records of this name that this journal has not: it was lost, or two sidecars have one name.
        let from = self.after_or_oldest(shipped_before)?;
        let detail = format!(
            "the stream holds record {} of this sidecar, and the journal holds another or none under that number: a journal was lost, or two sidecars share the name {} (`sidecar` in the settings gives each its own)",
            reached.seq, self.sidecar
        );
        if self.conflict.as_ref() != Some(reached) {
            self.conflict = Some(reached.clone());
            self.conflicts += 1;
        }
        tracing::error!(sidecar = self.sidecar, detail);
        say(Event::system("stream-conflict").detail(detail));
        Ok(from)
    }

    /// The last record that Redis took, as this side noted it down.
    pub(super) fn shipped_before(&self) -> Option<Cursor> {
        mark::read(&self.folder, Mark::Shipped).map(|(seq, hash)| Cursor { seq, hash })
    }

    /// Behind that record if this journal has it, else at the beginning.
    pub(super) fn after_or_oldest(&self, before: Option<&Cursor>) -> Result<Option<SegmentReader>, AuditError> {
        if let Some(before) = before
            && let Some(reader) = self.after(before)?
        {
            return Ok(Some(reader));
        }
        self.oldest()
    }

    /// The first segment, before its first frame.
    fn oldest(&self) -> Result<Option<SegmentReader>, AuditError> {
        for (_, path) in folder::segments(&self.folder)? {
            if let Some(reader) = SegmentReader::open_begun(&path)? {
                return Ok(Some(reader));
            }
        }
        Ok(None)
    }

    /// A reader behind a record of this journal; `None` if it has no such record.
    fn after(&self, reached: &Cursor) -> Result<Option<SegmentReader>, AuditError> {
        let mut found = None;
        for (_, path) in folder::segments(&self.folder)?.into_iter().rev() {
            let Some(reader) = SegmentReader::open_begun(&path)? else { continue };
            if reader.header.first_seq <= reached.seq.saturating_add(1) {
                found = Some(reader);
                break;
            }
        }
        let Some(mut reader) = found else { return Ok(None) };
        if reader.header.first_seq == reached.seq.saturating_add(1) {
            return Ok((text(&reader.header.prev) == reached.hash).then_some(reader));
        }
        loop {
            match reader.next().map_err(|cause| AuditError::Io { path: self.folder.clone(), cause })? {
                Step::Frame { kind: FrameKind::Record, payload } => match Seal::read(payload) {
                    Some(seal) if seal.seq == reached.seq => return Ok((text(seal.hash) == reached.hash).then_some(reader)),
                    Some(_) | None => {}
                },
                Step::Frame { kind: FrameKind::Open, .. } | Step::Damage { .. } => {}
                Step::Torn { .. } | Step::End => return Ok(None),
            }
        }
    }

    /// This sidecar's last record in the stream, for when the cursor has gone and the stream has not.
    async fn last_in_stream(&self, link: &mut Link) -> Result<Option<Cursor>, Stuck> {
        let mut last: Option<Cursor> = None;
        for home in &self.homes {
            let found = self.last_in(link, home).await?;
            last = last.into_iter().chain(found).max_by_key(|cursor| cursor.seq);
        }
        Ok(last)
    }

    async fn last_in(&self, link: &mut Link, home: &Keys) -> Result<Option<Cursor>, Stuck> {
        let mut end = "+".to_owned();
        loop {
            let mut command = redis::cmd("XREVRANGE");
            command.arg(&home.stream).arg(&end).arg("-").arg("COUNT").arg(PAGE);
            let page = entries(link.ask::<Value>(&command).await?);
            let Some(last) = page.back() else { return Ok(None) };
            end = format!("({}", last.id);
            for entry in page.iter().filter(|entry| entry.sidecar.as_deref() == Some(self.sidecar.as_bytes())) {
                if let Some(seal) = entry.record.as_deref().and_then(Seal::read) {
                    return Ok(Some(Cursor { seq: seal.seq, hash: text(seal.hash).to_owned() }));
                }
            }
        }
    }
}
