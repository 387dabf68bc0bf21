//! The memory that only the start needed, given back once the sidecar serves.
//!
//! A sidecar stands beside every service, and is idle most of the time. Reading settings, policy and catalogs runs
//! through much of the program once; those pages would stay counted as this process's own for as long as it lives.

use std::{ffi::c_void, fs, ptr, time::Duration};

use rustix::mm::{Advice, madvise};

/// How long after the start, and after the first time: by then what it began in the background has settled.
const SETTLED: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// Gives back, once the start is over, what it alone needed.
pub(super) async fn shrink() {
    for after in SETTLED {
        tokio::time::sleep(after).await;
        let_go_of_code();
    }
}

/// Lets go of the pages of program code and constants that are mapped now. What is still needed comes back by itself
/// at its next use, from the system's cache of the file.
fn let_go_of_code() {
    let (Ok(maps), Ok(program)) = (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe")) else { return };
    for (begin, length) in program.to_str().map(|program| pristine(&maps, program)).unwrap_or_default() {
        let begin = ptr::with_exposed_provenance_mut::<c_void>(begin);
        // SAFETY: the range is a private mapping of the program's own file that was never writable, up to and including
        // its code: constants and code, which the linker gives no relocations (there is no DT_TEXTREL in a Rust program);
        // what is relocated at the start and then protected lies behind the code. So all its pages are the file's. A
        // dropped page is read from there again when it is next run or read, and the same bytes are at the same place.
        // The file cannot be written to while it runs (ETXTBSY), and one that is replaced by a rename lives on until then.
        if let Err(error) = unsafe { madvise(begin, length, Advice::LinuxDontNeed) } {
            tracing::debug!(%error, "pages of code stay as they are");
        }
    }
}

/// Begin and length of those of `/proc/self/maps` that map `program` privately and read-only, up to its code.
fn pristine(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.ends_with(program)) {
        let Some((range, rest)) = line.split_once(' ') else { continue };
        let is_code = rest.starts_with("r-xp ");
        if !is_code && !rest.starts_with("r--p ") {
            break;
        }
        let bounds = range.split_once('-').map(|(begin, end)| (usize::from_str_radix(begin, 16), usize::from_str_radix(end, 16)));
        if let Some((Ok(begin), Ok(end))) = bounds
            && begin < end
        {
            found.push((begin, end - begin));
        }
        if is_code {
            return found;
        }
    }
    // No code: this is no layout that is known here.
    Vec::new()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn only_what_stands_before_the_relocated_part_is_meant() {
        let maps = "\
55d0c4000000-55d0c4300000 r--p 00000000 fe:00 12 /usr/bin/vicar
55d0c4300000-55d0c5000000 r-xp 00300000 fe:00 12 /usr/bin/vicar
55d0c5000000-55d0c5040000 r--p 01000000 fe:00 12 /usr/bin/vicar
55d0c5040000-55d0c5050000 rw-p 01040000 fe:00 12 /usr/bin/vicar
7f0000000000-7f0000010000 r-xp 00000000 fe:00 13 /usr/lib/libc.so.6
";
        let meant = [(0x55d0_c400_0000, 0x30_0000), (0x55d0_c430_0000, 0xD0_0000)];
        assert_eq!(pristine(maps, "/usr/bin/vicar"), meant);
        assert_eq!(pristine(&maps.replacen("r--p", "rw-p", 1), "/usr/bin/vicar"), [], "another layout");
        assert_eq!(pristine(&maps.replace("r-xp", "rwxp"), "/usr/bin/vicar"), [], "code that may be written to");
        assert_eq!(pristine("", "/usr/bin/vicar"), []);
    }

    #[test]
    fn code_that_runs_meanwhile_goes_on_as_if_nothing_were() {
        let done = AtomicBool::new(false);
        let work = |seed: u64| {
            let mut rounds = 0u64;
            while !done.load(Ordering::Relaxed) {
                // All sorts of code: formatting, parsing, hashing, allocating, sorting.
                let text = serde_json::json!({"seed": seed, "rounds": rounds}).to_string();
                let back: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(back["rounds"], rounds);
                assert_eq!(blake3::hash(text.as_bytes()), blake3::hash(back.to_string().as_bytes()));
                rounds += 1;
            }
            rounds
        };
        let rounds: u64 = thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
            (0..200).for_each(|_| let_go_of_code());
            done.store(true, Ordering::Relaxed);
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert!(rounds > 0);
    }
}
