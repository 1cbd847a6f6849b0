//! What the clients of products, files and accounts sent and received: the checker's input. No I/O
//! here.

use std::fmt;
use std::sync::Arc;

use crate::chaos::ledger::{Interval, Repetition};

/// Numbers the products of a run.
pub(crate) type ProductNumber = u32;
/// Numbers the files of a run.
pub(crate) type FileNumber = u32;
/// A username.
pub(crate) type Name = Arc<str>;

/// Where a request was sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Via {
    Gateway,
    Nginx,
    /// An instance of the stateless service, by its name.
    Instance(Name),
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("the gateway"),
            Self::Nginx => f.write_str("Nginx"),
            Self::Instance(name) => f.write_str(name),
        }
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Adds a product with price 0.
    CreateProduct {
        product: ProductNumber,
        stock: i32,
    },
    /// Sets the price, which counts the changes of the product from 1. Each product is changed by
    /// one client alone.
    ChangeProduct {
        product: ProductNumber,
        price: u32,
    },
    DeleteProduct(ProductNumber),
    Reserve {
        product: ProductNumber,
        quantity: i32,
        user: Name,
    },
    ReadProduct(ProductNumber),
    /// Lists all of the run's products.
    ListProducts,
    Upload {
        file: FileNumber,
        owner: Name,
    },
    DeleteFile(FileNumber),
    /// Reads what is known of a file.
    ReadFile(FileNumber),
    /// Reads the content or a part of it.
    Download(FileNumber),
    /// Lists all files of this user.
    ListFiles(Name),
    Register(Name),
    LogIn(Name),
    /// Looks up a user as an admin.
    FindUser(Name),
    /// Repeats an acknowledged write of this name under its key.
    Repeat(&'static str),
}

impl Act {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::CreateProduct { .. } => "create of a product",
            Self::ChangeProduct { .. } => "change of a product",
            Self::DeleteProduct(_) => "delete of a product",
            Self::Reserve { .. } => "reservation",
            Self::ReadProduct(_) => "read of a product",
            Self::ListProducts => "list of products",
            Self::Upload { .. } => "upload",
            Self::DeleteFile(_) => "delete of a file",
            Self::ReadFile(_) => "read of a file",
            Self::Download(_) => "download",
            Self::ListFiles(_) => "list of files",
            Self::Register(_) => "registration",
            Self::LogIn(_) => "login",
            Self::FindUser(_) => "lookup of a user",
            Self::Repeat(write) => write,
        }
    }

    /// Whether it changes something, under a key.
    pub(crate) const fn is_write(&self) -> bool {
        matches!(
            self,
            Self::CreateProduct { .. }
                | Self::ChangeProduct { .. }
                | Self::DeleteProduct(_)
                | Self::Reserve { .. }
                | Self::Upload { .. }
                | Self::DeleteFile(_)
                | Self::Register(_)
        )
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged, with what the response showed.
    Done(Seen),
    /// There is no such product, file or user; nothing was executed.
    Absent,
    /// The stock does not suffice; nothing was executed.
    OutOfStock,
    /// Certainly not executed.
    Refused,
    /// It may have been executed, may be executed later, or never.
    Unknown,
}

/// What a response showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing but the success.
    Nothing,
    Product(ProductSeen),
    /// Products of the run.
    Products {
        shown: Vec<(ProductNumber, ProductSeen)>,
        /// Whether the list ended with them.
        is_all: bool,
    },
    /// A reservation, by its id.
    Reserved(String),
    File(FileSeen),
    /// Content, or the part of it that was requested.
    Content {
        is_intact: bool,
    },
    Files(Vec<FileSeen>),
    /// How the response to a repeated write compares with the first response.
    Repeated(Repetition),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProductSeen {
    pub(crate) price: u32,
    pub(crate) stock: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSeen {
    pub(crate) id: String,
    /// By its name.
    pub(crate) file: FileNumber,
    /// Whether size and SHA-256 are those of what was uploaded.
    pub(crate) is_intact: bool,
}

/// One act of one client. A write and its repetitions under one key are one act, which begins with
/// the first attempt.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) via: Via,
    pub(crate) time: Interval,
    pub(crate) act: Act,
    pub(crate) outcome: Outcome,
    /// Whether the response was a copy of Nginx's cache.
    pub(crate) is_copy: bool,
}

impl Entry {
    pub(crate) fn seen(&self) -> Option<&Seen> {
        match &self.outcome {
            Outcome::Done(seen) => Some(seen),
            _ => None,
        }
    }

    /// Whether it was executed, or its outcome is unknown.
    pub(crate) fn may_be_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_) | Outcome::Unknown)
    }
}

/// An entry of the audit log about the run's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audited {
    Created(ProductNumber),
    Changed { product: ProductNumber, price: u32 },
    Deleted(ProductNumber),
    Reserved { product: ProductNumber, quantity: i32, user: Name, id: String },
    Uploaded(FileNumber),
    FileDeleted(FileNumber),
    Registered(Name),
}
