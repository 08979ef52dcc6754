// usage: node check_manifests.mjs LINTERS < MANIFESTS
// stdin is a JSON array of Kubernetes manifests. What their schemas say of them, one complaint a line; for each of them that is
// in order, `ok KIND`.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const all = pathToFileURL(`${process.argv[2]}/node_modules/kubernetes-models/`);
const byVersion = { "v1": "v1", "apps/v1": "apps/v1" };
for (const manifest of JSON.parse(readFileSync(0, "utf8"))) {
  const models = byVersion[manifest.apiVersion];
  const Model = models && (await import(new URL(`${models}/index.js`, all)))[manifest.kind];
  if (!Model) {
    console.log(`no schema: ${manifest.apiVersion} ${manifest.kind}`);
    continue;
  }
  try {
    new Model(manifest).validate();
    console.log(`ok ${manifest.kind}`);
  } catch (error) {
    console.log(`${manifest.kind}: ${error.message}`);
  }
}
