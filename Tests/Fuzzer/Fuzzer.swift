internal import FuzzTargets
internal import Glibc

/// libFuzzer's, when Scripts/fuzz.sh builds this; its own `main` then comes before ours.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  // libFuzzer's memory, for the call.
  Fuzzer.target.run(unsafe Array(UnsafeBufferPointer(start: start, count: count)))
  return 0
}

/// Runs the files that are named: `FUZZ_TARGET=envelope Fuzzer FILE …`
@main struct Fuzzer {
  fileprivate static let target: FuzzTarget = {
    let name = unsafe getenv("FUZZ_TARGET").map { unsafe String(cString: $0) } ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
      print("FUZZ_TARGET must be one of", FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))
      exit(2)
    }
    return target
  }()

  static func main() {
    for path in CommandLine.arguments.dropFirst() { replay(path) }
  }

  private static func replay(_ path: String) {
    guard let file = unsafe fopen(path, "r") else {
      print("cannot read", path)
      exit(1)
    }
    var bytes: [UInt8] = []
    while case let byte = unsafe fgetc(file), byte != EOF { bytes.append(UInt8(truncatingIfNeeded: byte)) }
    unsafe fclose(file)
    target.run(bytes)
    print(path, "is taken or refused as it should be")
  }
}
