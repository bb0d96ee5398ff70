// node unfunded.mjs: takes out of the lock where packages are funded, so that it names no host.
import { readFileSync, writeFileSync } from "node:fs";

const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
for (const of of Object.values(lock.packages)) delete of.funding;
writeFileSync("package-lock.json", `${JSON.stringify(lock, null, 2)}\n`);
