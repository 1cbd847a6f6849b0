//! One session in memory, with the results that it keeps for repetitions.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use crate::domain::caller::Caller;
use crate::domain::client_data::ClientData;
use crate::domain::conversation::{self, Earlier, Quote, ReplySource, Utterance};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::{Keyed, MAX_KEPT_PATCHES};
use crate::domain::message::{Appended, HistoryPage, Message, NewMessage, RestoredMessage};
use crate::domain::session::{NewSession, Session};
use crate::domain::session_tag::{SessionTag, WriteNonce};
use crate::store::{CreateError, Source, WriteOutcome, Written};

/// A session in memory.
pub(super) struct Record {
    pub(super) owner: Caller,
    pub(super) client_data: ClientData,
    pub(super) created_at: Timestamp,
    pub(super) last_activity: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) version: u64,
    pub(super) nonce: WriteNonce,
    pub(super) utterances: Vec<Utterance>,
    /// By key: the request's fingerprint, and its result for repetitions.
    pub(super) kept: HashMap<ShortDigest, (ShortDigest, Kept)>,
    /// The keys of the kept patches, oldest first.
    pub(super) kept_patches: VecDeque<ShortDigest>,
}

pub(super) enum Kept {
    Created(Session),
    Appended {
        number: u64,
        version: u64,
        nonce: WriteNonce,
    },
    Patched(Session),
    /// The session was given to its owner.
    Adopted,
}

impl Record {
    pub(super) fn new(
        new: NewSession,
        owner: Caller,
        expires_at: Timestamp,
        now: Timestamp,
        keyed: Option<Keyed>,
    ) -> Self {
        let NewSession { client_data, messages } = new;
        let restored = |message: RestoredMessage| Utterance {
            id: message.id,
            text: message.text,
            reply: ReplySource::Restored(message.reply),
            created_at: now,
        };
        let mut record = Self {
            owner,
            client_data,
            created_at: now,
            last_activity: now,
            expires_at,
            version: 1,
            nonce: WriteNonce::random(),
            utterances: messages.into_iter().map(restored).collect(),
            kept: HashMap::new(),
            kept_patches: VecDeque::new(),
        };
        record.keep(keyed, Kept::Created(record.session()));
        record
    }

    pub(super) fn session(&self) -> Session {
        Session {
            client_data: self.client_data.clone(),
            created_at: self.created_at,
            last_activity: self.last_activity,
            expires_at: self.expires_at,
            message_count: self.message_count(),
            version: self.version,
            nonce: self.nonce,
        }
    }

    pub(super) fn tag(&self) -> SessionTag {
        SessionTag { version: self.version, nonce: self.nonce }
    }

    pub(super) fn message_count(&self) -> u64 {
        self.utterances.len() as u64
    }

    /// The result kept under the key, if any; an error when it is that of another request.
    pub(super) fn kept(&self, keyed: Option<Keyed>) -> Option<Result<&Kept, KeyReused>> {
        let keyed = keyed?;
        let (fingerprint, kept) = self.kept.get(&keyed.key)?;
        Some(if *fingerprint == keyed.fingerprint { Ok(kept) } else { Err(KeyReused) })
    }

    pub(super) fn repeated_create(
        &self,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError> {
        match self.kept(keyed) {
            Some(Ok(Kept::Created(session))) => Ok(Written {
                value: session.clone(),
                source: Source::Created,
                outcome: WriteOutcome::Replayed,
            }),
            Some(_) => Err(CreateError::KeyReused),
            None => Err(CreateError::Exists),
        }
    }

    pub(super) fn keep(&mut self, keyed: Option<Keyed>, what: Kept) {
        if let Some(Keyed { key, fingerprint }) = keyed {
            self.kept.insert(key, (fingerprint, what));
        }
    }

    pub(super) fn written(&mut self, now: Timestamp) {
        self.last_activity = now;
        self.version += 1;
        self.nonce = WriteNonce::random();
    }

    pub(super) fn append(
        &mut self,
        message: NewMessage,
        now: Timestamp,
        keyed: Option<Keyed>,
    ) -> Appended {
        let reply = ReplySource::Computed(self.client_data.name());
        self.utterances.push(Utterance {
            id: message.id,
            text: message.text,
            reply,
            created_at: now,
        });
        self.written(now);
        let (number, version, nonce) = (self.message_count(), self.version, self.nonce);
        self.keep(keyed, Kept::Appended { number, version, nonce });
        Appended { message: self.message(number), version, nonce: Some(nonce) }
    }

    /// Records a change of the data; returns the session after it.
    pub(super) fn patched(&mut self, now: Timestamp, keyed: Option<Keyed>) -> Session {
        self.written(now);
        if let Some(Keyed { key, .. }) = keyed {
            self.keep(keyed, Kept::Patched(self.session()));
            self.kept_patches.push_back(key);
            if self.kept_patches.len() > MAX_KEPT_PATCHES
                && let Some(oldest) = self.kept_patches.pop_front()
            {
                self.kept.remove(&oldest);
            }
        }
        self.session()
    }

    /// The message of this number, with its reply.
    pub(super) fn message(&self, number: u64) -> Message {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let first = self.utterances.first().filter(|_| index > 0).map(quote);
        let previous =
            index.checked_sub(1).and_then(|before| self.utterances.get(before)).map(quote);
        let earlier = first
            .as_ref()
            .zip(previous.as_ref())
            .map(|(first, previous)| Earlier { first, previous });
        self.utterances[index].clone().with_reply(number, earlier)
    }

    pub(super) fn page(&self, at: Cursor, size: PageSize) -> HistoryPage {
        let page = at.page(size, self.utterances.len());
        let number = page.start as u64 + 1;
        let previous = page.start.checked_sub(1).and_then(|before| self.utterances.get(before));
        let messages = match self.utterances.first().map(quote) {
            Some(first) => {
                let page = self.utterances[page].iter().cloned();
                conversation::replay(&first, previous.map(quote), number, page)
            }
            None => Vec::new(),
        };
        HistoryPage { messages, message_count: self.message_count() }
    }
}

fn quote(utterance: &Utterance) -> Quote {
    Quote::of(utterance.text.as_str())
}

/// The key was used with another request.
pub(super) struct KeyReused;
