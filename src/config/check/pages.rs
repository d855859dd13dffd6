//! Pure. How the gateway's own pages present themselves.

use crate::{
    config::{
        problem::{Checked, Problems},
        raw::{PagesTable, node::Field},
    },
    pages::{Link, SiteLook},
};

/// Checks name and help.
pub(super) fn look(table: &PagesTable, problems: &mut Problems) -> Checked<SiteLook> {
    let product = product(&table.product_name, problems);
    let support = support(&table.support_url, problems);
    Ok(SiteLook { product: product?, support: support? })
}

fn product(field: &Field<String>, problems: &mut Problems) -> Checked<String> {
    let name = field.or("Portcullis".to_owned())?;
    if name.chars().count() > PRODUCT_CHARACTERS || name.chars().any(char::is_control) || name.trim().is_empty() {
        return Err(problems.add(&field.path, format!("must be one line of at most {PRODUCT_CHARACTERS} characters")));
    }
    Ok(name)
}

fn support(field: &Field<String>, problems: &mut Problems) -> Checked<Option<Link>> {
    let Some(text) = field.optional()? else {
        return Ok(None);
    };
    let link = Link::parse(&text).map(Some);
    link.map_err(|_| problems.add(&field.path, "must be a path, or an https:, http: or mailto: address"))
}

/// What fits at the top of a page on a phone.
const PRODUCT_CHARACTERS: usize = 60;

#[cfg(test)]
mod tests {
    use crate::config::fixture::Settings;

    #[test]
    fn names_are_lines_and_links_are_links() {
        let check = |pages: &str, expected: &str| {
            assert_eq!(Settings::valid().with(&format!("[pages]\n{pages}")).problems(), expected, "{pages}");
        };
        check("product_name = 'Müller & Söhne'\nsupport_url = 'mailto:help@example.com'", "");
        check("product_name = \"a\\nb\"", "pages.product_name: must be one line of at most 60 characters");
        check(
            "support_url = 'javascript:alert(1)'",
            "pages.support_url: must be a path, or an https:, http: or mailto: address",
        );
        check("csp_reports = 1", "pages.csp_reports: must be true or false, without quotes");
        check("csp_report_only = 'yes'", "pages.csp_report_only: must be true or false, without quotes");
    }
}
