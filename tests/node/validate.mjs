// Prints the report of the Khronos glTF validator for every GLB file named on the command line, as one JSON array.
import { readFile } from "node:fs/promises";
import validator from "gltf-validator";

const reports = [];
for (const path of process.argv.slice(2)) {
  const bytes = new Uint8Array(await readFile(path));
  reports.push(await validator.validateBytes(bytes, { uri: path, format: "glb", maxIssues: 100 }));
}
process.stdout.write(JSON.stringify(reports) + "\n");
