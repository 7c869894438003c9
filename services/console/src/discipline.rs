//! The line discipline: what happens between the keys and a program's `read`, and between its `write` and the screen.
//! Pure: bytes in, bytes and signals out. Behaves as Linux's `n_tty` (termios(3)).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::termios::{Termios, control, input, local, output};

/// Most bytes of a line being edited, with its end (as Linux).
const LINE_MAXIMUM: usize = 4096;
/// Most bytes waiting to be read. (Linux has 4096, and leaves the rest unseen: there, ^C does not come through a paste that nobody reads.)
const INPUT_MAXIMUM: usize = 64 * 1024;
const BELL: u8 = 7;
const TAB_WIDTH: usize = 8;

/// Signals that keys send to the foreground group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// ^C
    Interrupt = 2,
    /// ^\
    Quit = 3,
    /// ^Z
    Stop = 20,
}

/// A byte ready to be read, and what it does to a line read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Byte(u8),
    /// Ends a line, and is part of it.
    Delimiter(u8),
    /// Ends a line (or the file, if nothing precedes), and is not delivered.
    EndOfFile,
}

/// What a read can have now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Available {
    /// These bytes (possibly none: end of file); consume `entries` once they were delivered.
    Bytes { bytes: Vec<u8>, entries: usize },
    /// Nothing yet.
    Nothing,
}

/// A terminal's state.
#[derive(Debug, Default)]
pub(crate) struct Discipline {
    pub(crate) termios: Termios,
    ready: VecDeque<Ready>,
    editing: Vec<u8>,
    column: usize,
    editing_column: usize,
    literal_next: bool,
    stopped: bool,
}

impl Discipline {
    /// A key: echo goes to `screen`; a signal may result.
    pub(crate) fn key(&mut self, byte: u8, screen: &mut Vec<u8>) -> Option<Signal> {
        let byte = if self.termios.input & input::ISTRIP != 0 { byte & 0x7f } else { byte };
        if self.literal_next {
            self.literal_next = false;
            self.accept(byte, screen);
            return None;
        }
        if self.flow(byte) {
            return None;
        }
        if let Some(signal) = self.signal(byte) {
            if !self.termios.local(local::NOFLSH) {
                self.flush_input();
            }
            self.echo_control(byte, screen);
            return Some(signal);
        }
        let byte = self.translate(byte)?;
        if self.termios.canonical() {
            self.edit(byte, screen)
        } else {
            self.accept(byte, screen)
        }
        None
    }

    /// ^S and ^Q; true if the byte was one of them.
    fn flow(&mut self, byte: u8) -> bool {
        if self.termios.input & input::IXON == 0 {
            return false;
        }
        if self.termios.is(byte, control::VSTOP) && !self.termios.is(byte, control::VSTART) {
            self.stopped = true;
            return true;
        }
        if self.termios.is(byte, control::VSTART) {
            self.stopped = false;
            return true;
        }
        if self.stopped && self.termios.input & input::IXANY != 0 {
            self.stopped = false;
        }
        false
    }

    fn signal(&self, byte: u8) -> Option<Signal> {
        if !self.termios.local(local::ISIG) {
            return None;
        }
        [(control::VINTR, Signal::Interrupt), (control::VQUIT, Signal::Quit), (control::VSUSP, Signal::Stop)]
            .into_iter()
            .find(|(position, _)| self.termios.is(byte, *position))
            .map(|(_, signal)| signal)
    }

    fn translate(&self, byte: u8) -> Option<u8> {
        let flags = self.termios.input;
        let byte = match byte {
            b'\r' if flags & input::IGNCR != 0 => return None,
            b'\r' if flags & input::ICRNL != 0 => b'\n',
            b'\n' if flags & input::INLCR != 0 => b'\r',
            other => other,
        };
        Some(if flags & input::IUCLC != 0 { byte.to_ascii_lowercase() } else { byte })
    }

    /// A key in canonical mode.
    fn edit(&mut self, byte: u8, screen: &mut Vec<u8>) {
        let extended = self.termios.local(local::IEXTEN);
        if self.termios.is(byte, control::VERASE) {
            self.erase_character(screen);
        } else if self.termios.is(byte, control::VKILL) {
            self.kill_line(byte, screen);
        } else if extended && self.termios.is(byte, control::VWERASE) {
            self.erase_word(screen);
        } else if extended && self.termios.is(byte, control::VREPRINT) {
            self.reprint(byte, screen);
        } else if extended && self.termios.is(byte, control::VLNEXT) {
            self.literal_next = true;
            if self.echoes() && self.termios.local(local::ECHOCTL) {
                screen.extend_from_slice(b"^\x08");
            }
        } else if self.termios.is(byte, control::VEOF) {
            self.finish(Ready::EndOfFile);
        } else if byte == b'\n' {
            if self.echoes() || self.termios.local(local::ECHONL) {
                self.put(b'\n', screen);
            }
            self.finish(Ready::Delimiter(byte));
        } else if self.termios.is(byte, control::VEOL) || (extended && self.termios.is(byte, control::VEOL2)) {
            self.echo(byte, screen);
            self.finish(Ready::Delimiter(byte));
        } else {
            self.accept(byte, screen);
        }
    }

    /// An ordinary byte: into the line, or straight to readers.
    fn accept(&mut self, byte: u8, screen: &mut Vec<u8>) {
        if self.editing.len() >= LINE_MAXIMUM - 1 || !self.has_room(1) {
            if self.termios.input & input::IMAXBEL != 0 {
                screen.push(BELL);
            }
            return;
        }
        if self.termios.canonical() {
            if self.editing.is_empty() {
                self.editing_column = self.column;
            }
            self.editing.push(byte);
        } else {
            self.ready.push_back(Ready::Byte(byte));
        }
        self.echo(byte, screen);
    }

    fn finish(&mut self, end: Ready) {
        self.ready.extend(self.editing.drain(..).map(Ready::Byte));
        self.ready.push_back(end);
    }

    const fn echoes(&self) -> bool {
        self.termios.local(local::ECHO)
    }

    fn echo(&mut self, byte: u8, screen: &mut Vec<u8>) {
        if self.echoes() {
            if is_control(byte) && byte != b'\t' && byte != b'\n' && self.termios.local(local::ECHOCTL) {
                screen.extend_from_slice(&[b'^', byte ^ 0x40]);
                self.column += 2;
            } else {
                self.put(byte, screen);
            }
        }
    }

    /// Echo of a character that sends a signal: `^C`.
    fn echo_control(&mut self, byte: u8, screen: &mut Vec<u8>) {
        if self.echoes() && self.termios.local(local::ECHOCTL) {
            screen.extend_from_slice(&[b'^', byte ^ 0x40]);
            self.column += 2;
        }
    }

    /// Length of the last character of the line: a whole UTF-8 sequence where the terminal is set so.
    fn last_character(&self) -> usize {
        let mut length = usize::from(!self.editing.is_empty());
        if self.termios.input & input::IUTF8 != 0 {
            while length < self.editing.len() && length < 4 && self.editing[self.editing.len() - length] & 0xc0 == 0x80
            {
                length += 1;
            }
        }
        length
    }

    fn erase_character(&mut self, screen: &mut Vec<u8>) {
        let length = self.last_character();
        if length == 0 {
            return;
        }
        let before = self.line_width(self.editing.len() - length);
        let width = self.line_width(self.editing.len()) - before;
        self.editing.truncate(self.editing.len() - length);
        if !self.echoes() {
            return;
        }
        if self.termios.local(local::ECHOE) {
            for _ in 0..width {
                screen.extend_from_slice(b"\x08 \x08");
            }
            self.column = self.column.saturating_sub(width);
        } else {
            self.echo(self.termios.characters[control::VERASE], screen);
        }
    }

    /// Columns that the first `length` bytes of the line take on the screen.
    fn line_width(&self, length: usize) -> usize {
        let mut column = self.editing_column;
        for &byte in &self.editing[..length] {
            column += match byte {
                b'\t' => TAB_WIDTH - column % TAB_WIDTH,
                byte if is_control(byte) => {
                    if self.termios.local(local::ECHOCTL) {
                        2
                    } else {
                        0
                    }
                }
                byte if byte & 0xc0 == 0x80 && self.termios.input & input::IUTF8 != 0 => 0,
                _ => 1,
            };
        }
        column - self.editing_column
    }

    fn erase_word(&mut self, screen: &mut Vec<u8>) {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let mut seen_word = false;
        while let Some(&last) = self.editing.last() {
            if is_word(last) {
                seen_word = true;
            } else if seen_word {
                break;
            }
            self.erase_character(screen);
        }
    }

    fn kill_line(&mut self, byte: u8, screen: &mut Vec<u8>) {
        if self.termios.local(local::ECHOKE) && self.termios.local(local::ECHOE) {
            while !self.editing.is_empty() {
                self.erase_character(screen);
            }
            return;
        }
        self.editing.clear();
        self.echo(byte, screen);
        if self.echoes() && self.termios.local(local::ECHOK) {
            self.put(b'\n', screen);
        }
    }

    fn reprint(&mut self, byte: u8, screen: &mut Vec<u8>) {
        self.echo_control(byte, screen);
        self.put(b'\n', screen);
        let line = core::mem::take(&mut self.editing);
        self.editing_column = self.column;
        for &byte in &line {
            self.echo(byte, screen);
        }
        self.editing = line;
    }

    /// What a program writes, as it goes to the screen.
    pub(crate) fn write(&mut self, bytes: &[u8], screen: &mut Vec<u8>) {
        for &byte in bytes {
            self.put(byte, screen);
        }
    }

    /// One byte towards the screen, with output processing.
    fn put(&mut self, byte: u8, screen: &mut Vec<u8>) {
        let flags = self.termios.output;
        if flags & output::OPOST == 0 {
            screen.push(byte);
            return;
        }
        match byte {
            b'\n' => {
                if flags & output::ONLCR != 0 {
                    screen.push(b'\r');
                }
                if flags & (output::ONLCR | output::ONLRET) != 0 {
                    self.column = 0;
                }
                screen.push(b'\n');
            }
            b'\r' if flags & output::ONOCR != 0 && self.column == 0 => {}
            b'\r' if flags & output::OCRNL != 0 => self.put_newline(screen),
            b'\r' => {
                self.column = 0;
                screen.push(b'\r');
            }
            b'\t' if flags & output::XTABS == output::XTABS => {
                let width = TAB_WIDTH - self.column % TAB_WIDTH;
                screen.extend(core::iter::repeat_n(b' ', width));
                self.column += width;
            }
            b'\t' => {
                self.column += TAB_WIDTH - self.column % TAB_WIDTH;
                screen.push(byte);
            }
            8 => {
                self.column = self.column.saturating_sub(1);
                screen.push(byte);
            }
            _ => {
                if !is_control(byte) && byte & 0xc0 != 0x80 {
                    self.column += 1;
                }
                screen.push(if flags & output::OLCUC != 0 { byte.to_ascii_uppercase() } else { byte });
            }
        }
    }

    fn put_newline(&mut self, screen: &mut Vec<u8>) {
        self.column = 0;
        screen.push(b'\n');
    }

    /// What a read of up to `room` bytes could have now.
    pub(crate) fn available(&self, room: usize) -> Available {
        if self.termios.canonical() { self.available_line(room) } else { self.available_raw(room) }
    }

    fn available_line(&self, room: usize) -> Available {
        let mut bytes = Vec::new();
        for (position, entry) in self.ready.iter().enumerate() {
            match *entry {
                Ready::EndOfFile => return Available::Bytes { bytes, entries: position + 1 },
                _ if bytes.len() == room => return Available::Bytes { bytes, entries: position },
                Ready::Delimiter(byte) => {
                    bytes.push(byte);
                    return Available::Bytes { bytes, entries: position + 1 };
                }
                Ready::Byte(byte) => bytes.push(byte),
            }
        }
        // A line without an end: typed before the terminal became canonical again.
        if bytes.is_empty() {
            Available::Nothing
        } else {
            let entries = bytes.len();
            Available::Bytes { bytes, entries }
        }
    }

    fn available_raw(&self, room: usize) -> Available {
        if self.ready.is_empty() {
            return Available::Nothing;
        }
        let bytes = self
            .ready
            .iter()
            .take(room)
            .map(|entry| match *entry {
                Ready::Byte(byte) | Ready::Delimiter(byte) => byte,
                Ready::EndOfFile => self.termios.characters[control::VEOF],
            })
            .collect::<Vec<_>>();
        let entries = bytes.len();
        Available::Bytes { bytes, entries }
    }

    /// Bytes waiting to be read (`FIONREAD`).
    pub(crate) fn waiting(&self) -> usize {
        self.ready.iter().filter(|entry| !matches!(entry, Ready::EndOfFile)).count()
    }

    /// Whether a read would find something (a line, in canonical mode).
    pub(crate) fn readable(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether so many more keys would all be kept, for who reads them later.
    pub(crate) fn has_room(&self, keys: usize) -> bool {
        self.editing.len() + self.ready.len() + keys <= INPUT_MAXIMUM
    }

    /// What was read is delivered.
    pub(crate) fn consume(&mut self, entries: usize) {
        self.ready.drain(..entries.min(self.ready.len()));
    }

    /// Forget all input.
    pub(crate) fn flush_input(&mut self) {
        self.ready.clear();
        self.editing.clear();
    }

    /// Whether ^S holds output back.
    pub(crate) const fn stopped(&self) -> bool {
        self.stopped
    }

    /// `tcflow`: hold output back, or let it go.
    pub(crate) const fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// New settings. A half-typed line becomes readable when lines are no longer edited.
    pub(crate) fn set_termios(&mut self, termios: Termios) {
        let was_canonical = self.termios.canonical();
        self.termios = termios;
        if was_canonical && !termios.canonical() {
            self.ready.extend(self.editing.drain(..).map(Ready::Byte));
        }
        if termios.input & input::IXON == 0 {
            self.stopped = false;
        }
    }
}

const fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{Available, Discipline, Signal};
    use crate::termios::local;

    fn type_keys(discipline: &mut Discipline, keys: &[u8]) -> (Vec<u8>, Vec<Signal>) {
        let mut screen = Vec::new();
        let signals = keys.iter().filter_map(|&key| discipline.key(key, &mut screen)).collect();
        (screen, signals)
    }

    fn read(discipline: &mut Discipline, room: usize) -> Option<Vec<u8>> {
        match discipline.available(room) {
            Available::Bytes { bytes, entries } => {
                discipline.consume(entries);
                Some(bytes)
            }
            Available::Nothing => None,
        }
    }

    #[test]
    fn a_line_is_readable_only_when_ended() {
        let mut discipline = Discipline::default();
        let (screen, _) = type_keys(&mut discipline, b"ls");
        assert_eq!(screen, b"ls");
        assert_eq!(read(&mut discipline, 100), None);
        let (screen, _) = type_keys(&mut discipline, b"\r");
        assert_eq!(screen, b"\r\n");
        assert_eq!(read(&mut discipline, 100), Some(b"ls\n".to_vec()));
        assert_eq!(read(&mut discipline, 100), None);
    }

    #[test]
    fn a_short_read_leaves_the_rest_of_the_line() {
        let mut discipline = Discipline::default();
        type_keys(&mut discipline, b"abcdef\rgh\r");
        assert_eq!(read(&mut discipline, 4), Some(b"abcd".to_vec()));
        assert_eq!(read(&mut discipline, 100), Some(b"ef\n".to_vec()));
        assert_eq!(read(&mut discipline, 100), Some(b"gh\n".to_vec()));
    }

    #[test]
    fn erase_takes_a_whole_utf8_character_and_a_tab_whole_columns() {
        let mut discipline = Discipline::default();
        let (screen, _) = type_keys(&mut discipline, "aä\x7f\x7f".as_bytes());
        assert_eq!(screen, "aä\x08 \x08\x08 \x08".as_bytes());
        let (screen, _) = type_keys(&mut discipline, b"ab\t\x7fc\r");
        assert_eq!(screen, b"ab\t\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08c\r\n");
        assert_eq!(read(&mut discipline, 100), Some(b"abc\n".to_vec()));
    }

    #[test]
    fn kill_word_erase_and_literal_next() {
        let mut discipline = Discipline::default();
        type_keys(&mut discipline, b"one two\x17three\x15x\x16\x03\r");
        assert_eq!(read(&mut discipline, 100), Some(b"x\x03\n".to_vec()));
        type_keys(&mut discipline, b"one two  \x17six\r");
        assert_eq!(read(&mut discipline, 100), Some(b"one six\n".to_vec()));
    }

    #[test]
    fn end_of_file_ends_a_line_or_the_file() {
        let mut discipline = Discipline::default();
        type_keys(&mut discipline, b"ab\x04\x04");
        assert_eq!(read(&mut discipline, 100), Some(b"ab".to_vec()));
        assert_eq!(read(&mut discipline, 100), Some(Vec::new()));
        assert_eq!(read(&mut discipline, 100), None);
    }

    #[test]
    fn signals_flush_the_line_and_are_echoed() {
        let mut discipline = Discipline::default();
        let (screen, signals) = type_keys(&mut discipline, b"junk\x03\x1a\x1c");
        assert_eq!(signals, [Signal::Interrupt, Signal::Stop, Signal::Quit]);
        assert_eq!(screen, b"junk^C^Z^\\");
        type_keys(&mut discipline, b"x\r");
        assert_eq!(read(&mut discipline, 100), Some(b"x\n".to_vec()));
    }

    #[test]
    fn raw_mode_delivers_at_once_and_without_signals() {
        let mut discipline = Discipline::default();
        let mut termios = discipline.termios;
        termios.local &= !(local::ICANON | local::ECHO | local::ISIG);
        type_keys(&mut discipline, b"ha");
        discipline.set_termios(termios);
        let (screen, signals) = type_keys(&mut discipline, b"\x03\x04");
        assert!(screen.is_empty() && signals.is_empty());
        assert_eq!(read(&mut discipline, 100), Some(b"ha\x03\x04".to_vec()));
    }

    #[test]
    fn a_full_line_drops_keys_but_can_be_ended() {
        let mut discipline = Discipline::default();
        for _ in 0..10_000 {
            type_keys(&mut discipline, b"x");
        }
        type_keys(&mut discipline, b"\r");
        assert_eq!(read(&mut discipline, 10_000).map(|line| line.len()), Some(4096));
    }

    #[test]
    fn lines_that_nobody_reads_yet_are_kept_while_there_is_room() {
        const KEYS: &[u8] = b"one more line\r";
        let mut discipline = Discipline::default();
        let mut lines = 0;
        while discipline.has_room(KEYS.len()) {
            type_keys(&mut discipline, KEYS);
            lines += 1;
        }
        assert!(lines > 4 * 4096 / KEYS.len(), "a paste of several times Linux's limit");
        type_keys(&mut discipline, &[b'x'; 5000]);
        assert!(discipline.editing.len() + discipline.ready.len() <= super::INPUT_MAXIMUM);
        for _ in 0..lines {
            assert_eq!(read(&mut discipline, 100), Some(b"one more line\n".to_vec()));
        }
        assert!(discipline.has_room(KEYS.len()));
        let (_, signals) = type_keys(&mut discipline, b"\x03");
        assert_eq!((signals.len(), read(&mut discipline, 100)), (1, None));
    }

    #[test]
    fn output_gets_carriage_returns_only_when_processed() {
        let mut discipline = Discipline::default();
        let mut screen = Vec::new();
        discipline.write(b"a\nb", &mut screen);
        assert_eq!(screen, b"a\r\nb");
        discipline.termios.output = 0;
        screen.clear();
        discipline.write(b"a\nb", &mut screen);
        assert_eq!(screen, b"a\nb");
    }
}
