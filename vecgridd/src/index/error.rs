//! What can go wrong in an index.

/// Why an index could not be made or asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The operating system gives no thread for the builder.
    #[error("no thread for building the index: {0}")]
    Thread(#[source] std::io::Error),
    /// A query that was checked against another collection.
    #[error("the collection has dimension {expected}, the query has {found}")]
    WrongDimension {
        /// Of the collection.
        expected: usize,
        /// Of the query.
        found: usize,
    },
}
