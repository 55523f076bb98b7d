// Greets whom the arguments name.

const names = process.argv.slice(1);
for (let i = 0; i < names.length; i++) {
  console.log("Hello from AssemblyScript, " + names[i] + "!");
}
