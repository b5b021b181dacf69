"""The engine ``wasm``: programs as WebAssembly modules, run by wasmtime (extra ``bpfctl[jit]``)."""
