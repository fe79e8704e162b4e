internal import Envelope
internal import FuzzMeter
internal import KMSCore
internal import PKCS11Provider
internal import Strongroom
internal import SystemPackage

/// What takes bytes from outside. Anything may be refused, with a ``KMSError``; what is taken must be said again in
/// the same bytes where there is one way only to say it.
public enum FuzzTarget: String, CaseIterable, Sendable {
  case cbor, envelope, file, configuration, uri, log

  /// What an input of so many bytes may allocate at once. Each parser keeps copies of what it read; a YAML node takes
  /// some 200 bytes, and two of the input may stand for one.
  public func largestAllocation(_ count: Int) -> Int {
    switch self {
    case .configuration: (512 << 10) + 192 * count
    case .cbor, .envelope, .uri: (256 << 10) + 16 * count
    // Latencies are counted in 60 KiB for each kind of call, alert rules and three renderings of the report.
    case .log: (8 << 20) + 1024 * count
    case .file: (4 << 20) + 16 * count  // a file's body is read by segments of a mebibyte
    }
  }

  /// Ends the program when something is wrong.
  public func run(_ bytes: [UInt8]) {
    fuzz_meter_begin()
    do {
      switch self {
      case .cbor: try Self.cbor(bytes)
      case .envelope: try Self.envelope(bytes)
      case .file: try FileTarget.run(bytes)
      case .log: try LogTarget.run(bytes)
      case .configuration:
        guard let text = String(validating: bytes, as: UTF8.self) else { break }
        _ = try SuiteConfiguration(yaml: text, folder: "/nowhere", environment: [:])
      case .uri:
        guard let text = String(validating: bytes, as: UTF8.self) else { break }
        let uri = try PKCS11URI(parsing: text)
        require(
          uri.modulePath.contains("/") && (1...32).contains(uri.tokenLabel.utf8.count), "a URI without module or token")
      }
    } catch is KMSError {
    } catch { fatalError("\(type(of: error)) came out") }
    let peak = fuzz_meter_peak()
    require(peak <= largestAllocation(bytes.count), "\(peak) bytes were allocated for \(bytes.count)")
  }

  /// Every item in turn, the contents of byte strings too, and each head as it is written again.
  private static func cbor(_ bytes: [UInt8]) throws {
    var reader = CBORReader(bytes)
    while !reader.isAtEnd {
      let start = reader.offset
      let (major, value) = try reader.head()
      var writer = CBORWriter(capacity: 9)
      writer.head(major, value)
      require(writer.bytes == Array(bytes[start..<reader.offset]), "there are two ways to write a head")
      guard major == .bytes else { continue }
      var again = CBORReader(bytes, from: start)
      let content = try again.byteString("content", 0...Int.max)
      require(content.count == value, "a byte string is longer than it says")
      var inner = CBORReader(content)
      while !inner.isAtEnd, (try? inner.integer("a number")) != nil {}
      reader = again
    }
    try reader.finish()
  }

  private static func envelope(_ bytes: [UInt8]) throws {
    let again =
      switch EnvelopeKind.detect(bytes) {
      case .encrypt0: try Encrypt0Message(parsing: bytes).encoded()
      case .keyBlob: try EncryptMessage(parsing: bytes, as: .keyBlob).encoded()
      case .file: try FileHeader(parsing: bytes).encoded()
      case .field, nil: try EncryptMessage(parsing: bytes, as: .field).encoded()
      }
    require(again == bytes, "there are two ways to write an envelope")
  }
}

/// A finding. In optimised builds `precondition` would not say which.
func require(_ isRight: Bool, _ otherwise: @autoclosure () -> String) {
  if !isRight { fatalError(otherwise()) }
}
