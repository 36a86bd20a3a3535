// Runs one ONNX file once with onnxruntime-web's WebAssembly, as a page would. Never touches the network.
//
// Reads a JSON request from stdin: {"model": path, "answer": path, "inputs": [{"name", "dtype", "shape", "file"}]},
// "file" holding raw little-endian values. Writes to the answer's path {"outputs": [{"name", "dtype", "shape",
// "base64"}], "run_ms", "version"} or {"error": message}. Stdout is the engine's own: its profile, which names every
// kernel that ran, goes there and nowhere else.
import { readFileSync, writeFileSync } from "node:fs";

const arrays = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array,
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array,
  int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
};

function tensor(ort, { name, dtype, shape, file }) {
  const Values = arrays[dtype];
  if (!Values) throw new Error(`input ${name} is of ${dtype}, which a page cannot make`);
  const raw = readFileSync(file);
  return new ort.Tensor(dtype, new Values(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength)), shape);
}

function packed(name, { type, dims, data }) {
  if (!arrays[type]) throw new Error(`output ${name} is of ${type}, which cannot be compared`);
  const base64 = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
  return { name, dtype: type, shape: dims, base64 };
}

async function run(request) {
  const ort = await import("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;
  ort.env.logLevel = "fatal"; // what it has to say comes as an exception too
  const session = await ort.InferenceSession.create(readFileSync(request.model), {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
    enableProfiling: true,
  });
  const feeds = Object.fromEntries(request.inputs.map((input) => [input.name, tensor(ort, input)]));
  const start = performance.now();
  const found = await session.run(feeds);
  const run_ms = performance.now() - start;
  session.endProfiling();
  const outputs = Object.entries(found).map(([name, value]) => packed(name, value));
  return { outputs, run_ms, version: ort.env.versions.web };
}

function words(error) {
  // out of memory and the like leave WebAssembly as a bare number
  return typeof error === "number" ? `WebAssembly stopped with code ${error}` : String(error?.message ?? error);
}

const request = JSON.parse(readFileSync(0, "utf8"));
const answer = await run(request).catch((error) => ({ error: words(error) }));
writeFileSync(request.answer, JSON.stringify(answer));
