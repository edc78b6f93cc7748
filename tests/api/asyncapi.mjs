// Parses the AsyncAPI document on standard input with the makers' own parser; prints what is wrong with it, a
// line each, and ends with 1 where that makes it invalid.
//
//   NODE_PATH=<node_modules with @asyncapi/parser> node asyncapi.mjs <document
import {readFileSync} from "node:fs";
import {createRequire} from "node:module";
import {join} from "node:path";

const {Parser} = createRequire(join(process.env.NODE_PATH, "/"))("@asyncapi/parser");
const {document, diagnostics} = await new Parser().parse(readFileSync(0, "utf8"));
// 3.1 is newer; what we promise is 3.0.
const wrong = diagnostics.filter(found => found.code !== "asyncapi-latest-version");
for (const found of wrong) console.log(`${found.path.join(".")}: ${found.message}`);
process.exit(document && !wrong.length ? 0 : 1);
