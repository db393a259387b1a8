//! All that a partition has at one moment, in pieces, for another member.
//!
//! One walk over its family is a snapshot: what is written meanwhile is not seen. It runs in a thread that waits
//! while nobody takes its pieces, and ends when nobody will.

use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    storage::{
        Engine, Family, StorageError,
        keys::{self, applied},
    },
    types::{PartitionId, Version},
};

/// Bytes of a piece, roughly: small beside the messages that members take, large beside what one costs.
const PIECE: usize = 1 << 20;

/// Keys and values as they are stored, of everything but the applied point.
pub type Pairs = Vec<(Bytes, Bytes)>;

/// A piece of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    /// What is in it.
    pub pairs: Pairs,
    /// Nothing comes after it.
    pub last: bool,
}

impl Piece {
    fn bytes(&self) -> u64 {
        self.pairs.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

/// An open snapshot.
pub struct Snapshot {
    pieces: mpsc::Receiver<Result<Piece, StorageError>>,
    current: Option<(u64, Piece)>,
    /// Bytes and pairs of the pieces that were taken.
    sent: (u64, u64),
    /// About how many pairs there are.
    pairs: u64,
}

impl Snapshot {
    /// Opens one; the log that it stands for ends at the version.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(
        engine: Arc<dyn Engine>,
        partition: PartitionId,
    ) -> Result<(Version, Self), StorageError> {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (out, pieces) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            let pairs = engine.keys_of(partition);
            let mut walk = Walk { begun: Some(begun), pairs, out, piece: Piece::default(), bytes: 0 };
            let walked = engine.scan(Family::Partition(partition), &[], &[u8::MAX], &mut |key, value| {
                walk.visit(partition, key, value)
            });
            walk.end(walked);
        });
        let lost = || StorageError::Io("the reader of a snapshot has ended".into());
        let (at, pairs) = begins.await.map_err(|_| lost())??;
        Ok((at, Self { pieces, current: None, sent: (0, 0), pairs }))
    }

    /// Bytes of the pieces that were taken, and about how many there are in all, as far as can be said: if the other
    /// pairs are like those.
    pub fn progress(&self) -> (u64, u64) {
        let ((bytes, pairs), over) = (self.sent, self.current.as_ref().is_some_and(|(_, piece)| piece.last));
        let like_those = u128::from(bytes) * u128::from(self.pairs) / u128::from(pairs.max(1));
        let total = if over { bytes } else { u64::try_from(like_those).unwrap_or(u64::MAX).max(bytes) };
        (bytes, total)
    }

    /// A piece by number: the next one, or the last one again.
    ///
    /// # Errors
    /// When the store cannot be read, or the piece is neither.
    pub async fn piece(&mut self, number: u64) -> Result<Piece, StorageError> {
        let next = match &self.current {
            Some((at, piece)) if *at == number => return Ok(piece.clone()),
            Some((at, _)) => at + 1,
            None => 0,
        };
        let lost = || StorageError::Io(format!("a snapshot has no piece {number} any more"));
        if number != next {
            return Err(lost());
        }
        let piece = self.pieces.recv().await.ok_or_else(lost)??;
        self.sent = (self.sent.0 + piece.bytes(), self.sent.1 + piece.pairs.len() as u64);
        self.current = Some((number, piece.clone()));
        Ok(piece)
    }
}

struct Walk {
    begun: Option<tokio::sync::oneshot::Sender<Result<(Version, u64), StorageError>>>,
    pairs: u64,
    out: mpsc::Sender<Result<Piece, StorageError>>,
    piece: Piece,
    bytes: usize,
}

impl Walk {
    fn visit(
        &mut self,
        partition: PartitionId,
        key: &[u8],
        value: &[u8],
    ) -> Result<ControlFlow<()>, StorageError> {
        // The least key of all.
        if key == applied::key() {
            let point: applied::Applied = keys::open(&format!("the applied point of {partition}"), value)?;
            self.begin(Version { epoch: point.epoch, sequence: point.sequence });
            return Ok(ControlFlow::Continue(()));
        }
        self.begin(Version::default());
        self.bytes += key.len() + value.len();
        self.piece.pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        if self.bytes < PIECE {
            return Ok(ControlFlow::Continue(()));
        }
        self.bytes = 0;
        let sent = self.out.blocking_send(Ok(std::mem::take(&mut self.piece)));
        Ok(if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    fn begin(&mut self, at: Version) {
        if let Some(begun) = self.begun.take() {
            let _ = begun.send(Ok((at, self.pairs)));
        }
    }

    fn end(mut self, walked: Result<(), StorageError>) {
        match (walked, self.begun.take()) {
            (Ok(()), begun) => {
                // A partition that never had a write.
                begun.map(|begun| begun.send(Ok((Version::default(), 0))));
                let piece = Piece { last: true, ..std::mem::take(&mut self.piece) };
                let _ = self.out.blocking_send(Ok(piece));
            }
            (Err(error), Some(begun)) => _ = begun.send(Err(error)),
            (Err(error), None) => _ = self.out.blocking_send(Err(error)),
        }
    }
}
