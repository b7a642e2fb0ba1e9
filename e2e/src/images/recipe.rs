//! What a Dockerfile of this project says about its image: the Debian packages whose files are in it, labels, user and
//! entry point. It is no Dockerfile interpreter: an instruction of the last stage that it does not know is an error,
//! so that the packed image cannot silently differ.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Script of the `root` stage.
const ROOT_SCRIPT: &str = "RUN /rootfs.sh /image ";

/// The last stage of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    /// Packages whose libraries are in the image.
    pub(super) packages: Vec<String>,
    /// `uid:gid` of the process.
    pub(super) user: String,
    /// The command.
    pub(super) entrypoint: Vec<String>,
    /// Labels, variables not yet put in.
    labels: Vec<(String, String)>,
    /// Where the program is copied to.
    program: Option<String>,
}

/// What the `ARG`s of the last stage stand for.
#[derive(Debug, Clone)]
pub(super) struct Variables {
    /// `VERSION`.
    pub(super) version: String,
    /// `REVISION`.
    pub(super) revision: String,
}

impl Recipe {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("understand {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let packages = text
            .lines()
            .find_map(|line| line.strip_prefix(ROOT_SCRIPT))
            .with_context(|| format!("no line begins with {ROOT_SCRIPT:?}"))?;
        let mut recipe = Self {
            packages: packages.split_whitespace().map(str::to_owned).collect(),
            user: String::new(),
            entrypoint: Vec::new(),
            labels: Vec::new(),
            program: None,
        };
        let last = text.rfind("\nFROM ").context("no FROM")?;
        for line in text[last..].lines() {
            let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
            recipe
                .take(instruction, rest.trim())
                .with_context(|| format!("line {line:?}"))?;
        }
        ensure!(
            !recipe.user.is_empty(),
            "no USER: the image would run as root"
        );
        ensure!(!recipe.entrypoint.is_empty(), "no ENTRYPOINT");
        Ok(recipe)
    }

    fn take(&mut self, instruction: &str, rest: &str) -> Result<()> {
        match instruction {
            "" | "#" | "ARG" => {}
            "FROM" => ensure!(rest == "scratch", "the last stage begins from scratch"),
            "COPY" => match rest.split_whitespace().collect::<Vec<_>>()[..] {
                ["--from=root", "/image", "/"] => {}
                ["--from=build", _, target] => self.program = Some(target.to_owned()),
                _ => bail!("only the root file system and the program are copied"),
            },
            "LABEL" => {
                let (key, value) = rest.split_once('=').context("write KEY=\"VALUE\"")?;
                let value = value.trim_matches('"').to_owned();
                self.labels.push((key.to_owned(), value));
            }
            "USER" => rest.clone_into(&mut self.user),
            "ENTRYPOINT" => {
                self.entrypoint =
                    serde_json::from_str(rest).context("write [\"/usr/bin/PROGRAM\"]")?;
            }
            _ => bail!("`rig images` does not know {instruction}"),
        }
        Ok(())
    }

    /// Where the program is in the image.
    pub(super) fn program(&self) -> Result<&str> {
        self.program.as_deref().context("no COPY --from=build")
    }

    /// Labels with the variables put in.
    pub(super) fn labels(&self, variables: &Variables) -> Vec<(String, String)> {
        let put_in = |value: &str| {
            value
                .replace("${VERSION}", &variables.version)
                .replace("${REVISION}", &variables.revision)
        };
        let labels = self.labels.iter();
        labels
            .map(|(key, value)| (key.clone(), put_in(value)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "FROM debian AS root\nRUN /rootfs.sh /image libc6 base-files\n\nFROM scratch\n\
        COPY --from=root /image /\nCOPY --from=build /p /usr/bin/p\nLABEL a=\"b ${VERSION}\"\nUSER 1:1\n\
        ENTRYPOINT [\"/usr/bin/p\"]\n";

    #[test]
    fn the_last_stage_is_understood() {
        let recipe = Recipe::parse(GOOD).expect("a good Dockerfile");
        assert_eq!(recipe.packages, ["libc6", "base-files"]);
        assert_eq!(recipe.entrypoint, ["/usr/bin/p"]);
        let variables = Variables {
            version: "7".to_owned(),
            revision: String::new(),
        };
        let labels = recipe.labels(&variables);
        assert_eq!(labels, [("a".to_owned(), "b 7".to_owned())]);
    }

    #[test]
    fn what_would_be_left_out_of_the_packed_image_is_an_error() {
        for (bad, why) in [
            (format!("{GOOD}ENV A=b\n"), "does not know ENV"),
            (format!("{GOOD}COPY x /x\n"), "only the root file system"),
            (GOOD.replace("USER 1:1\n", ""), "would run as root"),
            (GOOD.replace("scratch", "debian"), "from scratch"),
            (GOOD.replace("/rootfs.sh", "cp"), "no line begins with"),
        ] {
            let error = format!("{:#}", Recipe::parse(&bad).expect_err("refused"));
            assert!(error.contains(why), "{error}");
        }
    }
}
