//! Pure. How the log is written.

use tracing_subscriber::EnvFilter;

use crate::{
    config::{
        problem::{Checked, Problems},
        raw::{LogTable, node::Field},
    },
    telemetry::{Audit, Config, Format},
};

/// Checks the log.
pub(super) fn telemetry(table: &LogTable, problems: &mut Problems) -> Checked<Config> {
    let format = table.format.or(Format::Json);
    let filter = filter(&table.filter, problems);
    let audit = audit(&table.audit, problems);
    let audit_allowed = table.audit_allowed.or(false);
    Ok(Config { format: format?, filter: filter?, audit: audit?, audit_allowed: audit_allowed? })
}

fn filter(field: &Field<String>, problems: &mut Problems) -> Checked<String> {
    let filter = field.or("info".to_owned())?;
    if EnvFilter::try_new(&filter).is_err() {
        return Err(problems.add(&field.path, r#"must be levels such as "info" or "info,portcullis=debug""#));
    }
    Ok(filter)
}

fn audit(field: &Field<String>, problems: &mut Problems) -> Checked<Audit> {
    match field.optional()? {
        Some(path) if path.starts_with('/') => Ok(Audit::File(path.into())),
        Some(word) if word != "stdout" => {
            Err(problems.add(&field.path, r#"must be "stdout" or the absolute path of a file"#))
        }
        Some(_) | None => Ok(Audit::Stdout),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Settings;

    #[test]
    fn logs_have_a_form_and_levels() {
        let check = |log: &str, expected: &str| {
            assert_eq!(Settings::valid().with(&format!("[log]\n{log}")).problems(), expected, "{log}");
        };
        check("format = 'text'\nfilter = 'info,portcullis=debug'\naudit = '/var/log/audit'\naudit_allowed = true", "");
        check("filter = 'portcullis=loud'", "log.filter: must be levels such as \"info\" or \"info,portcullis=debug\"");
        check("audit = 'audit.log'", "log.audit: must be \"stdout\" or the absolute path of a file");
        check("format = 'xml'", "log.format: must be one of \"json\", \"text\"");
    }
}
