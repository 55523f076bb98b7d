//! What the tests of the verifier share: the folder of real evidence, collateral as it is kept there, bits that are flipped,
//! files that are edited, the committed vectors, whom they ask about signatures, who signs results.

#![allow(dead_code, reason = "each test binary uses a part of this")]

pub(crate) mod edit;
pub(crate) mod fetched;
pub(crate) mod flip;
pub(crate) mod folder;
pub(crate) mod issuer;
pub(crate) mod provider;
pub(crate) mod vectors;
