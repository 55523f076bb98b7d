//! Greets whom the arguments name.

const std = @import("std");

pub fn main(init: std.process.Init) !void {
    var buffer: [256]u8 = undefined;
    var stdout = std.Io.File.stdout().writer(init.io, &buffer);
    var args = try init.minimal.args.iterateAllocator(init.gpa);
    defer args.deinit();
    _ = args.skip();
    while (args.next()) |name| try stdout.interface.print("Hello from Zig, {s}!\n", .{name});
    try stdout.interface.flush();
}
