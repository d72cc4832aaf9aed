//! Imports between the modules of this package point one way, as the table in docs/node.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rows of the table, in order: a module and what it imports.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/node.md");
    let page = fs::read_to_string(page).expect("the page of the node");
    let (_, section) = page.split_once("\n## The modules\n").expect("a section on the modules");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |row: &str| {
        let (module, rest) = row.split_once('`').expect("a name");
        let (_, imports) = rest.trim_end_matches(" |").rsplit_once('|').expect("three columns");
        let imports = imports.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (module.to_owned(), imports)
    };
    rows.map(row).collect()
}

/// What each module imports from others, without what only its tests import.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut imports = BTreeMap::new();
    let src = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "kit");
            let inside = path.strip_prefix(src).expect("it is in src").with_extension("");
            let module = inside.iter().next().and_then(|name| name.to_str()).expect("UTF-8");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if !is_test && path.extension().is_some_and(|it| it == "rs") && module != "lib" {
                let of_module: &mut BTreeSet<_> = imports.entry(module.to_owned()).or_default();
                of_module.extend(imported(&fs::read_to_string(&path).expect("a file")));
                of_module.remove(module);
            }
        }
    }
    imports
}

/// The modules that stand behind `crate::` in the code of a file.
fn imported(text: &str) -> impl Iterator<Item = String> + '_ {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let names = lines.flat_map(|line| line.split("crate::").skip(1));
    names
        .map(|name| name.split(|it: char| it != '_' && !it.is_alphanumeric()).next())
        .map(|name| name.filter(|it| !it.is_empty()).expect("a path, not a list").to_owned())
}

#[test]
fn imports_point_one_way() {
    let (table, imports) = (table(), imports());
    let mut above = BTreeSet::new();
    for (module, said) in &table {
        let found = imports.get(module).unwrap_or_else(|| panic!("there is no module {module}"));
        assert_eq!(found, said, "{module} imports the first, and docs/node.md says the second");
        let below: Vec<_> = found.difference(&above).collect();
        assert!(below.is_empty(), "{module} stands above {below:?} in docs/node.md");
        above.insert(module.clone());
    }
    let missing: Vec<_> = imports.keys().filter(|module| !above.contains(*module)).collect();
    assert!(missing.is_empty(), "docs/node.md does not have {missing:?}");
}
