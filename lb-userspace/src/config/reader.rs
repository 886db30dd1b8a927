//! Reading a file again: what has been read before and has not changed is not read anew.
//!
//! A text is cut before each `[[service]]`. What lies before the first one is its *head*: every service depends on it, and
//! on nothing else but that no two have what only one may have. While the head stays the same, only those services are read
//! whose text is another than before. A text that cannot be cut with certainty is read as a whole, and so is one in which
//! there is something to be said of a service, so that every message is as it would be of a new file.
//!
//! What there is to read of a large text is read in portions, since a document takes many times the memory of its text.

use std::{
    cell::LazyCell,
    collections::{HashMap, HashSet},
    ops::Range,
    path::Path,
    sync::Arc,
};

use memchr::{memchr_iter, memmem};

use super::{
    Config, List, Service,
    diagnostics::{Diagnostics, Warning},
    load::{self, Reading, Text},
};

/// Reads a file again and again.
#[derive(Debug, Default)]
pub struct Reader {
    kept: Option<Kept>,
}

/// The last text that was right and could be cut, and what it came to.
#[derive(Debug)]
struct Kept {
    text: Arc<String>,
    cut: Cut,
    lists: Vec<List>,
    /// What is written in each of the cut's services; none where there was something to be said of it.
    services: Vec<Option<Arc<Service>>>,
}

impl Reader {
    /// Reads and checks the file at `path`, as [`Config::load`] does.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it cannot be read.
    pub fn load(&mut self, path: &Path) -> Result<(Config, Vec<Warning>), Diagnostics> {
        self.take(path, &Text::read(path)?)
    }

    /// The same of what the file held a moment ago.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn take(&mut self, path: &Path, held: &Text) -> Result<(Config, Vec<Warning>), Diagnostics> {
        let (config, mut warnings) = self.read(path, Arc::clone(&held.text))?;
        let of_public_seed = held.of_public_seed.clone();
        warnings.extend(of_public_seed.filter(|_| !config.fleet.seed_is_default));
        Ok((config, warnings))
    }

    /// Checks `text` as if the file at `path` held it, as [`Config::read`] does.
    ///
    /// # Errors
    /// Everything that is wrong with it; where it is not TOML, only how.
    pub fn read(&mut self, path: &Path, text: Arc<String>) -> Result<(Config, Vec<Warning>), Diagnostics> {
        let cut = Cut::of(&text);
        let parts = cut.as_ref().and_then(|cut| read_parts(path, &text, cut, self.kept.as_ref()));
        let reading = parts.map_or_else(|| load::read(path, &text, &[]), Ok)?;
        let Reading { config, warnings, .. } = &reading;
        let result = (config.clone(), warnings.clone());
        self.kept = cut.and_then(|cut| Kept::new(text, cut, reading));
        Ok(result)
    }
}

impl Kept {
    fn new(text: Arc<String>, cut: Cut, reading: Reading) -> Option<Self> {
        let Reading { config, warnings, services } = reading;
        let questionable: HashSet<usize> = warnings.iter().filter_map(service_of).collect();
        let is_as_cut = services.len() == cut.services.len();
        let services = services.into_iter().enumerate();
        let services =
            services.map(|(at, service)| (!questionable.contains(&at)).then_some(service)).collect();
        is_as_cut.then_some(Self { text, cut, lists: config.lists, services })
    }

    /// The services of another text that this one has word for word; mostly at the same place.
    fn find(&self, text: &str, cut: &Cut) -> Vec<Option<Arc<Service>>> {
        let own = || self.cut.services.iter().map(|range| &self.text[range.clone()]).zip(&self.services);
        let by_beginning: LazyCell<HashMap<&[u8], Vec<_>>, _> = LazyCell::new(|| {
            let mut found: HashMap<_, Vec<_>> = HashMap::new();
            own().for_each(|(text, service)| found.entry(beginning(text)).or_default().push((text, service)));
            found
        });
        let mut places = own();
        let find = |range: &Range<usize>| {
            let wanted = &text[range.clone()];
            let same = places.next().filter(|(own, _)| *own == wanted).map(|(_, service)| service);
            let elsewhere = || {
                let mut alike = by_beginning.get(beginning(wanted))?.iter();
                alike.find(|(own, _)| *own == wanted).map(|(_, service)| *service)
            };
            same.or_else(elsewhere)?.clone()
        };
        cut.services.iter().map(find).collect()
    }
}

/// How much of the services' text is read at a time.
const PORTION: usize = 2 << 20;

/// What a text comes to, where it is enough to read those of its services that are not `kept`, in portions; none where it
/// is not, or where that would be to read it as a whole.
fn read_parts(path: &Path, text: &str, cut: &Cut, kept: Option<&Kept>) -> Option<Reading> {
    let head = &text[cut.head()];
    let kept = kept.filter(|kept| *head == kept.text[kept.cut.head()]);
    let mut services: Vec<_> =
        kept.map_or_else(|| vec![None; cut.services.len()], |kept| kept.find(text, cut));
    let others: Vec<_> = (0..services.len()).filter(|&at| services[at].is_none()).collect();
    let mut known: Vec<Arc<Service>> = services.iter().flatten().cloned().collect();
    let mut portions = portions(&others, |at| cut.services[at].len());
    if known.is_empty() && portions.len() < 2 {
        return None;
    }
    if portions.is_empty() {
        portions.push(&[]);
    }
    let mut last = None;
    for portion in &portions {
        let mut part = head.to_owned();
        part.extend(portion.iter().flat_map(|&at| [&text[cut.services[at].clone()], "\n"]));
        let reading = load::read(path, &part, &known).ok()?;
        let lists = &reading.config.lists;
        // Lists may be long, and several portions would each have their own.
        let are_lists_right =
            kept.is_none_or(|kept| kept.lists == *lists) && (portions.len() == 1 || lists.is_empty());
        let says_of_services =
            reading.warnings.iter().any(|warning| warning.0.key_path().starts_with(SERVICE));
        if !are_lists_right || says_of_services || reading.services.len() != portion.len() {
            return None;
        }
        for (&at, service) in portion.iter().zip(&reading.services) {
            services[at] = Some(Arc::clone(service));
        }
        known.extend_from_slice(&reading.services);
        last = Some(reading);
    }
    let services = services.into_iter().collect::<Option<Vec<_>>>()?;
    // With the last one, all others were known.
    Some(Reading { services, ..last? })
}

/// Stretches of `all` that come to about a portion.
fn portions(all: &[usize], length: impl Fn(usize) -> usize) -> Vec<&[usize]> {
    let mut sum = 0;
    let mut number = |&at: &usize| {
        let number = sum / PORTION;
        sum += length(at);
        number
    };
    let numbers: Vec<_> = all.iter().map(&mut number).collect();
    let mut rest = all;
    let lengths = numbers.chunk_by(|one, next| one == next).map(<[_]>::len);
    lengths.map(|length| rest.split_off(..length).expect("the stretches are all of it")).collect()
}

/// The first bytes of a service's text. They mostly have its name in them, and to hash all of a large file takes longer than
/// to compare it.
fn beginning(text: &str) -> &[u8] {
    const BYTES: usize = 96;
    &text.as_bytes()[..text.len().min(BYTES)]
}

/// The key of services in messages.
const SERVICE: &str = "service";

/// The number of the service that a warning is about.
fn service_of(warning: &Warning) -> Option<usize> {
    let (number, _) = warning.0.key_path().strip_prefix(SERVICE)?.strip_prefix('[')?.split_once(']')?;
    number.parse().ok()
}

/// Where the services of a text are, in bytes.
#[derive(Debug)]
struct Cut {
    services: Vec<Range<usize>>,
}

impl Cut {
    /// Cuts a text in which each header of a service is written plainly, and nothing else behind the first of them could be
    /// taken for one.
    fn of(text: &str) -> Option<Self> {
        // Within a string of several lines anything looks like a header.
        if [r#"""""#, "'''"].iter().any(|quotes| memmem::find(text.as_bytes(), quotes.as_bytes()).is_some()) {
            return None;
        }
        let mut starts = Vec::new();
        for at in memchr_iter(b'[', text.as_bytes()) {
            let line = text[..at].trim_end_matches([' ', '\t']);
            if !line.is_empty() && !line.ends_with('\n') {
                continue;
            }
            let header = &text[at..];
            if header.starts_with("[[service]]") {
                starts.push(line.len());
            } else if !starts.is_empty()
                && !["[service.", "[[service."].iter().any(|own| header.starts_with(own))
            {
                return None;
            }
        }
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        // Blank lines between two are nobody's.
        let section = |(&start, end): (&usize, usize)| start..start + text[start..end].trim_end().len();
        let services: Vec<_> = starts.iter().zip(ends).map(section).collect();
        (!services.is_empty()).then_some(Self { services })
    }

    /// What lies before the first service.
    fn head(&self) -> Range<usize> {
        0..self.services.first().map_or(0, |first| first.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three services, more than go into one portion.
    fn long(last_name: &str) -> String {
        let service = |(name, number): (&str, u32)| {
            let comment = "x".repeat(PORTION * 2 / 3);
            format!(
                "[[service]]\n# {comment}\nname = \"{name}\"\naddress = \"203.0.113.{number}\"\nport = 80\nprotocol = \"tcp\"\n\
                 forwarding = \"ipip\"\nprobe = {{ type = \"none\" }}\n\
                 backend = [{{ name = \"b\", address = \"198.51.100.{number}\" }}]\n"
            )
        };
        let services: String = [("a", 1), ("b", 2), (last_name, 3)].map(service).concat();
        format!("[balancer]\ninterfaces = [\"eth0\"]\n{services}")
    }

    #[test]
    fn portions_are_all_that_was_asked_for_in_its_order() {
        let all = [3, 4, 7, 9];
        assert_eq!(portions(&all, |_| PORTION / 2), [&all[..2], &all[2..]]);
        assert_eq!(portions(&all, |_| 1), [&all[..]]);
        assert_eq!(portions(&[], |_| 1), [&[0usize; 0]; 0]);
    }

    #[test]
    fn portions_come_to_what_the_whole_is() {
        let (path, text) = (Path::new("sluice.toml"), long("c"));
        let cut = Cut::of(&text).unwrap();
        let parts = read_parts(path, &text, &cut, None).expect("it is long enough");
        let whole = load::read(path, &text, &[]).unwrap();
        assert_eq!((parts.config, parts.services), (whole.config, whole.services));
        assert_eq!(parts.warnings, whole.warnings);
        let clash = long("a");
        assert!(read_parts(path, &clash, &Cut::of(&clash).unwrap(), None).is_none());
        let told = Reader::default().read(path, Arc::new(clash)).unwrap_err().to_string();
        assert!(told.contains("service name a is used twice"), "{told}");
    }
}
