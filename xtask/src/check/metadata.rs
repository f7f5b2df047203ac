//! The crates of the workspace, as `cargo metadata` describes them.

use anyhow::Result;
use serde_json::Value;

use crate::process;
use crate::toolchain::host_cargo;

/// One of our crates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Our own crates that it needs, those of its tests left out.
    pub needs: Vec<String>,
}

/// All crates of the workspace.
pub fn crates() -> Result<Vec<Crate>> {
    Ok(parse(&metadata()?))
}

fn metadata() -> Result<Value> {
    let mut command = host_cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    Ok(serde_json::from_str(&process::output("reading the workspace", &mut command)?)?)
}

fn parse(metadata: &Value) -> Vec<Crate> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter_map(|package| {
            let needs = package["dependencies"].as_array()?.iter();
            // A path makes it ours; the kind "dev" makes it the tests'.
            let ours = needs.filter(|need| need["path"].is_string() && need["kind"] != "dev");
            let needs = ours.filter_map(|need| need["name"].as_str()).map(str::to_string).collect();
            Some(Crate { name: package["name"].as_str()?.to_string(), needs })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_crates_count_and_not_those_of_tests() {
        let metadata = serde_json::json!({"packages": [{"name": "a", "dependencies": [
            {"name": "b", "path": "/b", "kind": null},
            {"name": "c", "path": "/c", "kind": "dev"},
            {"name": "log", "kind": null},
        ]}]});
        assert_eq!(parse(&metadata), [Crate { name: "a".into(), needs: vec!["b".into()] }]);
    }
}
