//! Pure. Rules by host, path and method: which policy decides where an nginx location names none.
//!
//! Invariant: every rule names a policy that there is and hosts that there are, and leaves no doubt that it can be the
//! first to fit.

use crate::{
    config::{
        problem::{Checked, Path, Problems},
        raw::{
            MatchTable, MatchingTable, PolicyTable,
            node::{Field, Named},
        },
    },
    origin::{HostName, Sites},
    verify::{
        matching::{Matching, Rule},
        policy::PolicyName,
    },
};

/// Checks all rules.
pub(super) fn matching(
    table: &MatchingTable,
    policies: &Named<PolicyTable>,
    sites: &Checked<Sites>,
    problems: &mut Problems,
) -> Checked<Matching> {
    let list = &table.rules;
    if list.present && list.members.is_empty() {
        problems.add(&list.path, "must not be empty: leave it out, and let each nginx location name its policy");
    }
    let known = Known { policies, sites: sites.as_ref().ok() };
    let read: Vec<_> = list.members.iter().map(|member| known.rule(member, problems)).collect();
    refuse_unreachable(&list.path, &read, problems);
    read.into_iter().collect::<Checked<Vec<_>>>().map(Matching::new)
}

/// What a rule may name.
struct Known<'a> {
    policies: &'a Named<PolicyTable>,
    sites: Option<&'a Sites>,
}

impl Known<'_> {
    fn rule(&self, table: &MatchTable, problems: &mut Problems) -> Checked<Rule> {
        let hosts = self.hosts(&table.hosts, problems);
        let paths = table.paths.required(problems).and_then(|paths| filled(&table.paths, paths, EVERY_PATH, problems));
        let methods = table.methods.or(Vec::new());
        let methods = methods.and_then(|methods| filled_if_given(&table.methods, methods, problems));
        let policy = self.policy(&table.policy, problems);
        Ok(Rule { hosts: hosts?, paths: paths?, methods: methods?, policy: policy? })
    }

    fn hosts(&self, field: &Field<Vec<HostName>>, problems: &mut Problems) -> Checked<Vec<HostName>> {
        let hosts = filled_if_given(field, field.or(Vec::new())?, problems)?;
        let strange = |host: &HostName| self.sites.is_some_and(|sites| sites.of_host(host.as_str()).is_none());
        for (index, _) in hosts.iter().enumerate().filter(|(_, host)| strange(host)) {
            problems.add(&field.path.index(index), "is no host of a site, so no request ever has it");
        }
        Ok(hosts)
    }

    fn policy(&self, field: &Field<PolicyName>, problems: &mut Problems) -> Checked<PolicyName> {
        let policy = field.required(problems)?;
        if self.policies.entries.contains_key(policy.as_str()) {
            return Ok(policy);
        }
        Err(problems.add(&field.path, "names a policy that is not there"))
    }
}

fn refuse_unreachable(path: &Path, read: &[Checked<Rule>], problems: &mut Problems) {
    for (index, rule) in read.iter().enumerate() {
        let Ok(rule) = rule else { continue };
        let covers = |earlier: &Checked<Rule>| earlier.as_ref().is_ok_and(|earlier| earlier.covers(rule));
        if let Some(earlier) = read[..index].iter().position(covers) {
            problems.add(&path.index(index), format!("is never reached: {} covers it", path.index(earlier)));
        }
    }
}

/// A list that may be left out, but not be empty: that would fit nothing, or was meant to.
fn filled_if_given<T>(field: &Field<Vec<T>>, list: Vec<T>, problems: &mut Problems) -> Checked<Vec<T>> {
    if field.is_present() { filled(field, list, ANY, problems) } else { Ok(list) }
}

fn filled<T>(field: &Field<Vec<T>>, list: Vec<T>, message: &str, problems: &mut Problems) -> Checked<Vec<T>> {
    if list.is_empty() { Err(problems.add(&field.path, message)) } else { Ok(list) }
}

const EVERY_PATH: &str = "must not be empty: \"/\" stands for every path";
const ANY: &str = "must not be empty: leave it out for any";

#[cfg(test)]
mod tests {
    use crate::config::fixture::Settings;

    fn check(rules: &str, expected: &str) {
        let settings = Settings::valid()
            .with("[site.main]\nhosts = ['wiki.example.com']\ncookie_domain = 'example.com'")
            .with(&format!("[matching]\nrules = [{rules}]"));
        assert_eq!(settings.problems(), expected, "{rules}");
    }

    #[test]
    fn rules_name_paths_and_a_policy_that_there_is() {
        check("{ paths = ['/'], policy = 'staff' }", "");
        check(
            "{ hosts = ['wiki.example.com', 'APP.example.com'], paths = ['/a', '=/b/'], methods = ['GET', 'POST'], policy = 'staff' }",
            "",
        );
        check("{ policy = 'staff' }", "matching.rules[0].paths: is missing");
        check("{ paths = ['/'] }", "matching.rules[0].policy: is missing");
        check("{ paths = ['/'], policy = 'stuff' }", "matching.rules[0].policy: names a policy that is not there");
        check("{ paths = ['/'], policy = 'a b' }", "matching.rules[0].policy: must be the name of a policy");
        check(
            "{ path = ['/'], policy = 'staff' }",
            "matching.rules[0].path: is not a setting; did you mean paths?\nmatching.rules[0].paths: is missing",
        );
    }

    #[test]
    fn lists_are_never_empty() {
        check("", "matching.rules: must not be empty: leave it out, and let each nginx location name its policy");
        check(
            "{ hosts = [], paths = [], methods = [], policy = 'staff' }",
            "matching.rules[0].hosts: must not be empty: leave it out for any\n\
             matching.rules[0].methods: must not be empty: leave it out for any\n\
             matching.rules[0].paths: must not be empty: \"/\" stands for every path",
        );
    }

    #[test]
    fn hosts_are_those_of_the_sites() {
        let path = "matching.rules[0].hosts[0]";
        let check = |host: &str, expected: &str| {
            check(&format!("{{ hosts = ['{host}'], paths = ['/'], policy = 'staff' }}"), expected);
        };
        check("evil.example", &format!("{path}: is no host of a site, so no request ever has it"));
        check("example.com", &format!("{path}: is no host of a site, so no request ever has it"));
        check("*.example.com", &format!("{path}: must be one host name, without scheme, port or wild card"));
        check("app.example.com:443", &format!("{path}: must be one host name, without scheme, port or wild card"));
    }

    #[test]
    fn paths_and_methods_are_written_as_they_are_compared() {
        let paths = |path: &str, expected: &str| {
            check(
                &format!("{{ paths = ['{path}'], policy = 'staff' }}"),
                &format!("matching.rules[0].paths[0]: {expected}"),
            );
        };
        paths("admin", "must begin with \"/\", or with \"=/\" for that path alone");
        paths("/a%20b", "must be a plain path, not encoded, without query, fragment or wild card");
        paths("/a/*", "must be a plain path, not encoded, without query, fragment or wild card");
        paths("/a/../b", "is a path that could be read in two ways, so it is never matched");
        paths(
            "/admin/",
            "must not end in \"/\": \"/a\" stands for itself and all that is below it, \"=/a/\" for that path alone",
        );
        let methods = |method: &str, right: bool| {
            let known = "must be one of \"GET\", \"HEAD\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\", \"OPTIONS\", \"MKCOL\", \"COPY\", \"MOVE\", \"PROPFIND\", \"PROPPATCH\", \"LOCK\", \"UNLOCK\"";
            let expected = if right { String::new() } else { format!("matching.rules[0].methods[0]: {known}") };
            check(&format!("{{ paths = ['/'], methods = ['{method}'], policy = 'staff' }}"), &expected);
        };
        methods("DELETE", true);
        methods("get", false);
        methods("TRACE", false);
        methods("GTE", false);
    }

    #[test]
    fn a_rule_that_an_earlier_one_covers_is_never_reached() {
        let never = "matching.rules[1]: is never reached: matching.rules[0] covers it";
        check("{ paths = ['/a'], policy = 'staff' }, { paths = ['/'], policy = 'staff' }", "");
        check("{ paths = ['/'], policy = 'staff' }, { paths = ['/a'], policy = 'staff' }", never);
        check("{ paths = ['/'], methods = ['GET'], policy = 'staff' }, { paths = ['/a'], policy = 'staff' }", "");
        check("{ paths = ['/a'], policy = 'staff' }, { paths = ['/b', '/a/c'], policy = 'staff' }", "");
        check(
            "{ paths = ['/a'], policy = 'staff' }, { paths = ['=/a', '/a/c'], methods = ['GET'], policy = 'staff' }",
            never,
        );
    }
}
