//! Models of the Hugging Face Hub, by their names there: fetched once, into the cache that its Python
//! library has as well (`HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`).

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The folder that is meant by `path`: one that is there, or the model of that name on the Hub,
/// `org/name` or `org/name@revision`. What is neither stays as it is, for others to refuse.
///
/// # Errors
/// [`Error::Folder`] for a model that cannot be fetched, with how to get it by hand.
pub fn local(path: &Path) -> Result<PathBuf> {
    match name(path) {
        Some(name) if !path.exists() => fetched(name),
        _ => Ok(path.to_path_buf()),
    }
}

/// A model's name on the Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name<'a> {
    /// As it was given.
    whole: &'a str,
    /// `org/name`.
    model: &'a str,
    /// A branch, tag or commit.
    revision: &'a str,
}

/// `org/name`, where a path is the name of a model on the Hub and no folder here.
pub fn model_name(path: &Path) -> Option<&str> {
    name(path).filter(|_| !path.exists()).map(|name| name.model)
}

/// The name that a path is, if it is one. What begins with a folder that is there is most likely
/// misspelt.
fn name(path: &Path) -> Option<Name<'_>> {
    let whole = path.to_str()?;
    let (model, revision) = whole.split_once('@').unwrap_or((whole, "main"));
    let (organisation, name) = model.split_once('/')?;
    let is_good = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(good)
    };
    let is_revision = !revision.is_empty() && revision.split('/').all(is_good);
    let is_name = is_good(organisation) && is_good(name) && is_revision;
    (is_name && !Path::new(organisation).exists()).then_some(Name {
        whole,
        model,
        revision,
    })
}

#[cfg(not(feature = "fetch"))]
fn fetched(name: Name<'_>) -> Result<PathBuf> {
    let problem = "is no folder here, and this melos was built without the feature `fetch`";
    Err(by_hand(name, problem))
}

/// That a model was not fetched, and what to do.
fn by_hand(name: Name<'_>, problem: &str) -> Error {
    let Name {
        whole,
        model,
        revision,
    } = name;
    let revision = match revision {
        "main" => String::new(),
        revision => format!(" --revision {revision}"),
    };
    let how = format!(
        "{problem}; get the folder where there is a network, as by `hf download {model}{revision} --local-dir \
         DIR`, and name DIR"
    );
    Error::folder(whole, how)
}

#[cfg(feature = "fetch")]
use remote::fetched;

#[cfg(feature = "fetch")]
mod remote {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::rc::Rc;
    use std::sync::{Mutex, PoisonError};

    use hf_hub::api::Progress;
    use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
    use hf_hub::{Cache, Repo, RepoType};
    use indicatif::ProgressBar;
    use serde_json::Value;

    use super::{Name, by_hand};
    use crate::atomic::digest;
    use crate::bounded;
    use crate::error::{Error, Result};
    use crate::hub::adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, LABELS};
    use crate::hub::{COMPANIONS, CONFIG, INDEX, TORCH_INDEX, TORCH_WEIGHTS, WEIGHTS};

    /// How often a file is begun or gone on with before it is given up.
    const TRIES: usize = 5;
    /// What is fetched beside the weights and what belongs to every model.
    const FILES: [&str; 3] = [CONFIG, ADAPTER_CONFIG, LABELS];

    /// What this process has fetched already: a run asks for its model more than once.
    static KNOWN: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

    pub(super) fn fetched(name: Name<'_>) -> Result<PathBuf> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = known.get(name.whole) {
            return Ok(folder.clone());
        }
        // The crate trusts what a server says.
        let folder = bounded::guarded(|| Remote::new(name)?.folder());
        let folder = folder.unwrap_or_else(|panic| Err(by_hand(name, &cannot(&panic))))?;
        known.insert(name.whole.to_string(), folder.clone());
        Ok(folder)
    }

    fn cannot(why: &str) -> String {
        let why = why.lines().next().unwrap_or_default();
        format!("is no folder here, and could not be fetched ({why})")
    }

    fn setting(name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// A model on the Hub and in the cache.
    struct Remote<'a> {
        name: Name<'a>,
        cache: Cache,
    }

    impl Remote<'_> {
        fn new(name: Name<'_>) -> Result<Remote<'_>> {
            let cache = match setting("HF_HUB_CACHE") {
                Some(folder) => Cache::new(folder.into()),
                None => Cache::from_env(),
            };
            Ok(Remote { name, cache })
        }

        fn repo(&self, revision: &str) -> Repo {
            let (model, revision) = (self.name.model.into(), revision.into());
            Repo::with_revision(model, RepoType::Model, revision)
        }

        /// What the cache has of it: the folder of its revision, if that is whole.
        fn cached(&self) -> Option<PathBuf> {
            let repo = self.cache.repo(self.repo(self.name.revision));
            let path = [CONFIG, ADAPTER_CONFIG]
                .iter()
                .find_map(|file| repo.get(file));
            let folder = match path {
                Some(path) => path.parent()?.to_path_buf(),
                // A commit needs no name.
                None => repo.pointer_path(self.name.revision),
            };
            let has = |file: &str| folder.join(file).exists();
            let sharded = |index: &str| {
                let shards = shards(&folder.join(index)).unwrap_or_default();
                !shards.is_empty() && shards.iter().all(|shard| has(shard))
            };
            let whole = [WEIGHTS, ADAPTER_WEIGHTS, TORCH_WEIGHTS]
                .iter()
                .any(|file| has(file));
            let whole = whole || [INDEX, TORCH_INDEX].into_iter().any(sharded);
            whole.then_some(folder)
        }

        fn folder(&self) -> Result<PathBuf> {
            let offline = setting("HF_HUB_OFFLINE").map(|value| value.to_uppercase());
            if offline.is_some_and(|v| ["1", "ON", "YES", "TRUE"].contains(&&*v)) {
                let problem = "is no folder here and not in the cache, and HF_HUB_OFFLINE is set";
                return self.cached().ok_or_else(|| by_hand(self.name, problem));
            }
            let api = self.api().map_err(|e| self.failed(&e))?;
            let info = match api.repo(self.repo(self.name.revision)).info() {
                Ok(info) => info,
                Err(error) => {
                    // Only where nobody answered: a model that is gone is not to be used by chance.
                    let known = self.cached().filter(|_| status(&error).is_none());
                    let folder = known.ok_or_else(|| self.failed(&error))?;
                    let name = self.name.whole;
                    log::warn!(
                        "the Hub was not reached ({error}); {name} is taken as the cache has it"
                    );
                    return Ok(folder);
                }
            };
            let there: Vec<&str> = info.siblings.iter().map(|s| &*s.rfilename).collect();
            let weights = [WEIGHTS, ADAPTER_WEIGHTS, INDEX, TORCH_WEIGHTS, TORCH_INDEX];
            let Some(weights) = weights.into_iter().find(|file| there.contains(file)) else {
                let problem = "has no weights as safetensors or pytorch_model.bin on the Hub, and others are not read here";
                return Err(Error::folder(self.name.whole, problem));
            };
            // Of one commit, whatever happens to the branch meanwhile.
            let repo = api.repo(self.repo(&info.sha));
            let wanted = |file: &&&str| {
                let module = file.strip_suffix("/config.json");
                FILES.contains(*file)
                    || COMPANIONS.contains(*file)
                    || module.is_some_and(|module| module.ends_with("_Pooling"))
            };
            let mut folder = PathBuf::new();
            for file in there.iter().filter(wanted).chain([&weights]) {
                let path = self.file(&repo, &info.sha, file)?;
                let above = file.split('/').count();
                folder = path
                    .ancestors()
                    .nth(above)
                    .map_or(folder, Path::to_path_buf);
            }
            if [INDEX, TORCH_INDEX].contains(&weights) {
                for shard in shards(&folder.join(weights))? {
                    self.file(&repo, &info.sha, &shard)?;
                }
            }
            let named = self.cache.repo(self.repo(self.name.revision));
            let created = named.create_ref(&info.sha);
            created.map_err(|e| Error::write(self.cache.path(), e))?;
            Ok(folder)
        }

        fn api(&self) -> Result<Api, ApiError> {
            let builder = ApiBuilder::from_cache(self.cache.clone());
            let token = setting("HF_TOKEN").or_else(|| self.cache.token());
            let builder = builder.with_token(token.map(|token| token.trim().to_string()));
            match setting("HF_ENDPOINT") {
                Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/').into()),
                None => builder,
            }
            .with_user_agent("melos", env!("CARGO_PKG_VERSION"))
            .build()
        }

        /// A file of a commit: from the cache, or fetched, and gone on with where it was cut off.
        fn file(&self, repo: &ApiRepo, commit: &str, file: &str) -> Result<PathBuf> {
            let there = self.cache.repo(self.repo(commit));
            let path = there.pointer_path(commit).join(file);
            if path.exists() {
                return Ok(path);
            }
            log::info!("fetching {file} of {}", self.name.whole);
            let mut tries = 1;
            loop {
                let (bar, size) = (ProgressBar::new(0), Rc::new(Cell::new(0)));
                let bar = Shown {
                    bar,
                    size: size.clone(),
                };
                let fetched = repo.download_with_progress(file, bar);
                match fetched {
                    Ok(path) if is_whole(&path, size.get()) => return Ok(path),
                    Ok(path) => {
                        let blob = path.canonicalize().unwrap_or_else(|_| path.clone());
                        let _ = (fs::remove_file(&path), fs::remove_file(blob));
                        if tries == TRIES {
                            let problem = format!("came damaged {TRIES} times ({file})");
                            return Err(by_hand(self.name, &problem));
                        }
                    }
                    Err(error) if tries == TRIES || status(&error).is_some() => {
                        return Err(self.failed(&error));
                    }
                    Err(error) => log::warn!("{file} was cut off ({error}); going on with it"),
                }
                std::thread::sleep(std::time::Duration::from_millis(200 << tries));
                tries += 1;
            }
        }

        /// Why nothing came, and what to do.
        fn failed(&self, error: &ApiError) -> Error {
            let whole = self.name.whole;
            match status(error) {
                Some(401 | 403) => Error::folder(
                    whole,
                    "is no folder here, and the Hub does not give it to everybody, or has no such model; accept \
                     its terms on its page, and set HF_TOKEN or log in with `hf auth login`",
                ),
                Some(404) => Error::folder(
                    whole,
                    "is no folder here, and the Hub has no such model or revision",
                ),
                _ => by_hand(self.name, &cannot(&error.to_string())),
            }
        }
    }

    /// What a server answered instead of a file.
    fn status(error: &ApiError) -> Option<u16> {
        match error {
            ApiError::RequestError(error) => match **error {
                ureq::Error::StatusCode(code) => Some(code).filter(|code| *code < 500),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a file has as many bytes as it should, and those that its name in the cache says: large
    /// files are stored under their sha256.
    fn is_whole(path: &Path, size: usize) -> bool {
        let Ok(blob) = path.canonicalize() else {
            return false;
        };
        let name = blob.file_name().unwrap_or_default().to_string_lossy();
        let is_hash = name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit());
        let long = blob.metadata().is_ok_and(|m| m.len() == size as u64);
        long && (!is_hash || digest(&blob).is_ok_and(|found| found == *name))
    }

    /// The files that an index names.
    fn shards(index: &Path) -> Result<Vec<String>> {
        let json: Value = crate::hub::read_json(index)?;
        let map = json["weight_map"].as_object();
        let mut shards: Vec<String> = (map.into_iter().flatten())
            .filter_map(|(_, shard)| shard.as_str().map(String::from))
            // Nothing outside of the folder.
            .filter(|shard| !shard.contains(['/', '\\']))
            .collect();
        shards.sort();
        shards.dedup();
        Ok(shards)
    }

    /// A bar, on a terminal; it remembers how large the file should be.
    struct Shown {
        bar: ProgressBar,
        size: Rc<Cell<usize>>,
    }

    impl Progress for Shown {
        fn init(&mut self, size: usize, file: &str) {
            self.size.set(size);
            Progress::init(&mut self.bar, size, file);
        }

        fn update(&mut self, bytes: usize) {
            Progress::update(&mut self.bar, bytes);
        }

        fn finish(&mut self) {
            Progress::finish(&mut self.bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_are_told_from_paths() {
        let parts = |text| name(Path::new(text)).map(|n| (n.model, n.revision));
        let model = "sentence-transformers/all-MiniLM-L6-v2";
        assert_eq!(parts(model), Some((model, "main")));
        assert_eq!(parts("a/b.c_d@refs/pr/1"), Some(("a/b.c_d", "refs/pr/1")));
        for path in [
            "bert-base-uncased",
            "./a/b",
            "../a/b",
            "/a/b",
            "a/b/c",
            "a/",
            "/b",
            "a/b@",
            "a/b@..",
            "a b/c",
            "~/b",
            "C:/b",
            "a\\b", // The folder is there: what is below is misspelt.
            "src/nothing",
            "tests/none@main",
        ] {
            assert_eq!(parts(path), None, "{path}");
        }
        assert_eq!(local(Path::new("src/hub")).unwrap(), Path::new("src/hub"));
        assert_eq!(local(Path::new("src/no")).unwrap(), Path::new("src/no"));
    }
}
