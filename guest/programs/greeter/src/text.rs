//! The texts of the service, and the small formats they need: HTML escapes, query parameters, hexadecimal, dates.

/// The page for people without a browser.
pub(crate) fn plain(name: &str) -> String {
    format!(
        "Hello from {name}.\n\
         \n\
         This is greeter {}, a WebAssembly service. It runs in a Keep: the machine it runs on carries\n\
         its bytes but did not choose them. This request has an instance of its own, gone when it is answered.\n\
         \n\
         \x20 GET  /                  this page\n\
         \x20 GET  /time              the time in the Keep\n\
         \x20 POST /echo              the body back\n\
         \x20 GET  /sha256?text=...   SHA-256 of a text\n\
         \x20 POST /sha256            SHA-256 of the body\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The page for browsers: the same words.
pub(crate) fn html(name: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Hello from {name}</title>\n\
         <style>body {{ font: 1.1rem/1.5 system-ui; max-width: 46rem; margin: 4rem auto; padding: 0 1rem }}</style>\n\
         <pre style=\"white-space: pre-wrap\">{}</pre>\n</html>\n",
        escape(&plain(name)),
        name = escape(name),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The value of a query parameter, percent-decoded, `+` read as a space (WHATWG URL, urlencoded parsing). A `%` that is
/// not followed by two hexadecimal digits stays as it is.
pub(crate) fn parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    let found = query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
    let mut rest = found?.1.as_bytes();
    let mut value = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((if *first == b'+' { b' ' } else { *first }, tail));
        value.push(byte);
        rest = after;
    }
    Some(value)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970 as `YYYY-MM-DDTHH:MM:SSZ`, by the civil calendar counted from 1 March of year 0, where the leap day
/// is the last of a year.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn parameters() {
        assert_eq!(parameter("a=1&text=x%20y+z%2B%zz", "text").unwrap(), b"x y z+%zz");
        assert_eq!(parameter("text=%ff%", "text").unwrap(), b"\xff%");
        assert_eq!(parameter("text=", "text").unwrap(), b"");
        assert_eq!(parameter("context=1&text", "text"), None);
    }

    #[test]
    fn a_name_cannot_write_html() {
        assert!(!html("<script>\"&").contains("<script>"));
        assert!(html("<script>\"&").contains("&lt;script&gt;&quot;&amp;"));
    }
}
