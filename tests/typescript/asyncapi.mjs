// node asyncapi.mjs DOCUMENT: says what is wrong with it, and fails if it is no AsyncAPI document.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const { severity, path, message } of diagnostics) console.log(severity, path.join("."), message);
if (document === undefined) process.exit(1);
console.log(`${document.channels().all().length} channels`);
