//! Seeded mutations: the same seed gives the same inputs on every machine.

/// Longest input that mutations grow to.
pub const INPUT_BYTES_MAX: usize = 16 * 1024;

/// xorshift64*, by Marsaglia and Vigna.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator for this seed; any seed will do.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Spread by SplitMix64's constant; zero is the one state that xorshift cannot leave.
        Self(
            seed.wrapping_add(1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .max(1),
        )
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        (self.bits() % end) as usize
    }
}

/// Octets that parsers trip over.
const SPECIAL: &[u8] = b"\0\r\n \t\"\\{}()<>[]*%+-.,:;=@/&\x7f\x80\xff09aZ";

/// Makes one input out of a seed: up to eight mutations of the kinds below.
pub fn mutate(seed: &[u8], corpus: &[Vec<u8>], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut input = seed.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(8) {
            0 => replace(
                &mut input,
                at,
                |octet, random| octet ^ 1 << random.below(8),
                random,
            ),
            1 => replace(
                &mut input,
                at,
                |_, random| SPECIAL[random.below(SPECIAL.len())],
                random,
            ),
            2 => insert(&mut input, at, &[SPECIAL[random.below(SPECIAL.len())]]),
            3 | 4 if !words.is_empty() => insert(&mut input, at, words[random.below(words.len())]),
            5 => {
                let end = (at + 1 + random.below(16)).min(input.len());
                input.drain(at..end);
            }
            6 => {
                let end = (at + 1 + random.below(64)).min(input.len());
                let again = input[at..end].to_vec();
                insert(&mut input, at, &again);
            }
            7 if !corpus.is_empty() => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                input.truncate(at);
                insert(&mut input, at, &other[from..]);
            }
            _ => input.truncate(at),
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn replace(
    input: &mut [u8],
    at: usize,
    change: impl Fn(u8, &mut Random) -> u8,
    random: &mut Random,
) {
    if let Some(octet) = input.get_mut(at) {
        *octet = change(*octet, random);
    }
}

fn insert(input: &mut Vec<u8>, at: usize, octets: &[u8]) {
    input.splice(at..at, octets.iter().copied());
}
