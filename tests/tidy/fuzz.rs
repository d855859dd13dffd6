//! Rules about the fuzz targets: each begins with something, and what is fuzzed is what ships.

#![expect(clippy::unwrap_used, reason = "a manifest that cannot be read is a failed test")]

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::tree::Tree;

/// A target of the manifest has its file and a seed, and nothing lies about for a target that there is not.
pub(super) fn fuzzes_from_seeds(tree: &Tree) -> Vec<String> {
    let targets: BTreeSet<_> = entries(tree, "fuzz/Cargo.toml", "bin").map(|target| text(&target, "name")).collect();
    let below = |folder: &str| -> BTreeSet<_> {
        let files = tree.0.iter().filter_map(|file| file.path.strip_prefix(folder));
        files.map(|file| file.split(['/', '.']).next().unwrap_or_default().to_owned()).collect()
    };
    let (files, seeds) = (below("fuzz/fuzz_targets/"), below("fuzz/seeds/"));
    let without = targets.iter().filter(|target| !(files.contains(*target) && seeds.contains(*target)));
    let known = [&files, &seeds, &below("fuzz/dictionaries/")];
    let strangers = known.into_iter().flatten().filter(|name| !targets.contains(*name));
    let without = without.map(|target| format!("fuzz/Cargo.toml: {target} has no file, or no seed in fuzz/seeds"));
    without.chain(strangers.map(|name| format!("fuzz: {name} is no target of fuzz/Cargo.toml"))).collect()
}

/// The fuzzed build has no other version of anything than the product has.
pub(super) fn fuzzes_what_ships(tree: &Tree) -> Vec<String> {
    let packages = |path| -> BTreeSet<_> {
        entries(tree, path, "package").map(|package| (text(&package, "name"), text(&package, "version"))).collect()
    };
    let shipped = packages("Cargo.lock");
    let names: BTreeSet<_> = shipped.iter().map(|(name, _)| name).collect();
    let fuzzed = packages("fuzz/Cargo.lock");
    let others = fuzzed.iter().filter(|package| names.contains(&package.0) && !shipped.contains(package));
    let how = "cp Cargo.lock fuzz/ && cargo metadata --manifest-path fuzz/Cargo.toml";
    others.map(|(name, version)| format!("fuzz/Cargo.lock: {name} {version} is not what ships: {how}")).collect()
}

fn entries(tree: &Tree, path: &str, kind: &str) -> impl Iterator<Item = Value> {
    let mut manifest: Table = tree.text(path).parse().unwrap();
    let entries = manifest.remove(kind).and_then(|entries| entries.as_array().cloned());
    entries.into_iter().flatten()
}

fn text(entry: &Value, key: &str) -> String {
    entry[key].as_str().unwrap_or_default().to_owned()
}
