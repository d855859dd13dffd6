//! Sets up the process's log, once: lines to standard output, audit lines there or to a file that only grows.

use std::{fs::OpenOptions, io, path::PathBuf, sync::Mutex};

use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
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
    // Audit lines are written whatever the filter says, and only once.
    let wanted = filter.or(filter_fn(is_audit)).and(filter_fn(move |line| with_audit || !is_audit(line)));
    let lines = lines(config.format).with_filter(wanted);
    tracing_subscriber::registry().with(to_file).with(lines).try_init().map_err(LogError::Twice)
}

fn is_audit(line: &Metadata<'_>) -> bool {
    line.target() == AUDIT
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
    // Spans too: they carry the request's id.
    let only_audit = filter_fn(|line: &Metadata<'_>| line.is_span() || is_audit(line));
    let layer =
        fmt::layer().json().flatten_event(true).with_span_list(false).with_ansi(false).with_writer(Mutex::new(file));
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
