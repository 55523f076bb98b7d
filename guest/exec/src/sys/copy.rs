//! `memcpy` and `memmove` in the place of those of musl, which move every few bytes by `rep movsq`, and upward ones with the
//! direction flag set: on today's processors ten times as slow. WebAssembly's `memory.copy` ends here, and so do all bytes of
//! connections.
//!
//! Invariant: all that is read is read before something is written over it, and not a byte beyond either range is touched.
//! The direction flag stays clear, and only registers are used that a call may change.

use std::arch::global_asm;

global_asm!(
    ".balign 32",
    ".globl donjon_memmove",
    ".type donjon_memmove, @function",
    "donjon_memmove:",
    "mov rax, rdi",
    "cmp rdx, 16",
    "jb 20f",
    "cmp rdx, 32",
    "ja 10f",
    // To 32: both ends, which may overlap. So everywhere below: first all loads, then all stores.
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + rdx - 16]",
    "movups [rdi], xmm0",
    "movups [rdi + rdx - 16], xmm1",
    "ret",
    "10:",
    "cmp rdx, 64",
    "ja 11f",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm2, [rsi + rdx - 32]",
    "movups xmm3, [rsi + rdx - 16]",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + rdx - 32], xmm2",
    "movups [rdi + rdx - 16], xmm3",
    "ret",
    "11:",
    // Whether the place begins within what is moved there: then from the end.
    "mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "jb 13f",
    // Much: the processor knows best, but where the two are less than 64 apart.
    "cmp rdx, 4096",
    "jb 16f",
    "cmp rcx, -64",
    "jb 15f",
    "16:",
    // Upward by 64, and the last 64, kept from before, over the end.
    "movups xmm4, [rsi + rdx - 64]",
    "movups xmm5, [rsi + rdx - 48]",
    "movups xmm6, [rsi + rdx - 32]",
    "movups xmm7, [rsi + rdx - 16]",
    "lea r8, [rdi + rdx - 64]",
    "12:",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm2, [rsi + 32]",
    "movups xmm3, [rsi + 48]",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + 32], xmm2",
    "movups [rdi + 48], xmm3",
    "add rsi, 64",
    "add rdi, 64",
    "cmp rdi, r8",
    "jb 12b",
    "movups [r8], xmm4",
    "movups [r8 + 16], xmm5",
    "movups [r8 + 32], xmm6",
    "movups [r8 + 48], xmm7",
    "ret",
    "13:",
    // Downward by 64, and the first 64 over the beginning.
    "movups xmm4, [rsi]",
    "movups xmm5, [rsi + 16]",
    "movups xmm6, [rsi + 32]",
    "movups xmm7, [rsi + 48]",
    "lea r8, [rdi + 64]",
    "add rsi, rdx",
    "add rdi, rdx",
    "14:",
    "movups xmm0, [rsi - 16]",
    "movups xmm1, [rsi - 32]",
    "movups xmm2, [rsi - 48]",
    "movups xmm3, [rsi - 64]",
    "movups [rdi - 16], xmm0",
    "movups [rdi - 32], xmm1",
    "movups [rdi - 48], xmm2",
    "movups [rdi - 64], xmm3",
    "sub rsi, 64",
    "sub rdi, 64",
    "cmp rdi, r8",
    "ja 14b",
    "movups [rax], xmm4",
    "movups [rax + 16], xmm5",
    "movups [rax + 32], xmm6",
    "movups [rax + 48], xmm7",
    "ret",
    "15:",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    "20:",
    "cmp rdx, 8",
    "jb 21f",
    "mov rcx, [rsi]",
    "mov r8, [rsi + rdx - 8]",
    "mov [rdi], rcx",
    "mov [rdi + rdx - 8], r8",
    "ret",
    "21:",
    "cmp rdx, 4",
    "jb 22f",
    "mov ecx, [rsi]",
    "mov r8d, [rsi + rdx - 4]",
    "mov [rdi], ecx",
    "mov [rdi + rdx - 4], r8d",
    "ret",
    "22:",
    "test rdx, rdx",
    "je 23f",
    // One to three: the first, the middle, the last.
    "mov r9, rdx",
    "shr r9",
    "movzx ecx, byte ptr [rsi]",
    "movzx r8d, byte ptr [rsi + rdx - 1]",
    "movzx r10d, byte ptr [rsi + r9]",
    "mov [rdi], cl",
    "mov [rdi + r9], r10b",
    "mov [rdi + rdx - 1], r8b",
    "23:",
    "ret",
    ".size donjon_memmove, . - donjon_memmove",
);

#[cfg(all(target_env = "musl", not(test)))]
global_asm!(
    ".globl memmove",
    ".type memmove, @function",
    ".set memmove, donjon_memmove",
    ".globl memcpy",
    ".type memcpy, @function",
    ".set memcpy, donjon_memmove",
);

#[cfg(test)]
mod tests {
    unsafe extern "C" {
        fn donjon_memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
    }

    fn moved(room: &mut [u8], to: usize, from: usize, count: usize) {
        assert!(to + count <= room.len() && from + count <= room.len());
        let start = room.as_mut_ptr();
        // SAFETY: both ranges lie within `room`, as was just seen.
        let told = unsafe { donjon_memmove(start.add(to), start.add(from), count) };
        assert_eq!(told, start.wrapping_add(to));
    }

    #[test]
    fn bytes_are_where_a_simple_copy_puts_them() {
        let fresh: Vec<u8> = (0..3 * 4600).map(|at: usize| u8::try_from(at * 7 % 251).unwrap()).collect();
        let counts = (0..=330_usize).chain([511, 512, 513, 1000, 4095, 4096, 4097, 4500]);
        for count in counts {
            let near = [0, 1, 2, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 4600];
            for apart in near.into_iter().chain([count.saturating_sub(1), count, count + 1]) {
                for (to, from) in [(40, 40 + apart), (40 + apart, 40)] {
                    let (mut found, mut expected) = (fresh.clone(), fresh.clone());
                    moved(&mut found, to, from, count);
                    expected[to..to + count].copy_from_slice(&fresh[from..from + count]);
                    assert!(found == expected, "{count} bytes from {from} to {to}");
                }
            }
        }
    }
}
