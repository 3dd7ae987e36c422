// Compiles every WGSL file of an export for browsers with Dawn, and makes its pipeline:
//
//     node compile.mjs DIR [null]
//
// `null`: on Dawn's adapter that runs nothing, which needs no driver. The exit code is 1 where something
// does not compile, 3 where Dawn has no adapter.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);
const [folder, backend = "vulkan"] = process.argv.slice(2);
const manifest = readFileSync(join(folder, "manifest.toml"), "utf8");
if (!/^target = "web"$/m.test(manifest)) {
    console.error(`${folder} holds no export for browsers`);
    process.exit(1);
}
// A global: Dawn goes when this object is collected, whatever is still compiled.
globalThis.gpu = create([`backend=${backend}`]);
const adapter = await gpu.requestAdapter();
if (!adapter) process.exit(3);

// All that the adapter has, so that what a module lacks is its own fault.
const optional = ["shader-f16", "subgroups"];
const requiredFeatures = optional.filter((feature) => adapter.features.has(feature));
const requiredLimits = {};
for (const limit in GPUSupportedLimits.prototype) requiredLimits[limit] = adapter.limits[limit];
const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });

const files = Array.from(manifest.matchAll(/^wgsl = "(.*)"$/gm), (line) => line[1]);
let failed = 0;
let unsupported = 0;
for (const file of files) {
    const code = readFileSync(join(folder, file), "utf8");
    const lacks = { f16: "shader-f16", subgroups: "subgroups" };
    const enabled = Array.from(code.matchAll(/^enable (\w+);$/gm), (line) => lacks[line[1]]);
    if (enabled.some((feature) => optional.includes(feature) && !adapter.features.has(feature))) {
        unsupported += 1;
        continue;
    }
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    const found = messages.map((m) => `${file}:${m.lineNum}:${m.linePos}: ${m.type}: ${m.message}`);
    if (!messages.some((m) => m.type === "error")) {
        const pipeline = device.createComputePipelineAsync({ layout: "auto", compute: { module } });
        await pipeline.catch((error) => found.push(`${file}: ${error.message}`));
    }
    await device.popErrorScope();
    // A warning is a browser's as well, and is not to be there.
    if (found.length > 0) {
        failed += 1;
        console.error(found.join("\n"));
    }
}
const { vendor, device: name, description } = adapter.info;
const on = [vendor, description || name].filter(Boolean).join(" ");
console.log(`${files.length - failed - unsupported} of ${files.length} modules compiled by Dawn on ${on}`);
if (unsupported > 0) console.log(`${unsupported} are NOT CHECKED there: it lacks their features`);
process.exit(failed > 0 ? 1 : 0);
