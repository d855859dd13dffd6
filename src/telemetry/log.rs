//! Sets up the process's log, once: lines to standard output, audit lines there or to a file that only grows.

use std::{fs::OpenOptions, io, path::PathBuf, sync::Mutex};

use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterFn, ParseError, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

use crate::telemetry::{AUDIT, Audit, Config, Format};

/// Begins logging.
///
/// # Errors
/// [`LogError`] when the filter does not parse, the audit file does not open, or logging has begun before.
pub fn begin(config: &Config) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(LogError::Filter)?;
    let to_file = match &config.audit {
        Audit::Stdout => None,
        Audit::File(path) => Some(audit_file(path)?),
    };
    let with_audit = to_file.is_none();
    let lines = lines(config.format).with_filter(filter_fn(move |line| with_audit || line.target() != AUDIT));
    tracing_subscriber::registry().with(to_file).with(lines.with_filter(filter)).try_init().map_err(LogError::Twice)
}

fn lines<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    match format {
        Format::Json => fmt::layer().json().flatten_event(true).with_span_list(false).with_ansi(false).boxed(),
        Format::Text => fmt::layer().with_ansi(false).boxed(),
    }
}

fn audit_file(path: &PathBuf) -> Result<Box<dyn Layer<Registry> + Send + Sync>, LogError> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| LogError::AuditFile(path.clone(), error))?;
    let only_audit: FilterFn<_> = filter_fn(|line| line.target() == AUDIT);
    let layer = fmt::layer().json().flatten_event(true).with_ansi(false).with_writer(Mutex::new(file));
    Ok(layer.with_filter(only_audit).boxed())
}

/// Why logging did not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.filter` does not parse.
    #[error("log.filter is not a filter: {0}")]
    Filter(#[source] ParseError),
    /// The audit file does not open.
    #[error("the audit log {0} does not open: {1}")]
    AuditFile(PathBuf, #[source] io::Error),
    /// Logging has begun before.
    #[error("logging has begun before")]
    Twice(#[source] TryInitError),
}
