internal import Envelope
internal import KMSCore
internal import SystemPackage

/// A file as the command reads it: header first, then the body's segments.
enum FileTarget {
  static func run(_ bytes: [UInt8]) throws {
    let (source, target) = try temporaryFiles.get()
    try source.resize(to: 0)
    try source.seek(offset: 0, from: .start)
    try source.writeAll(bytes)
    try source.seek(offset: 0, from: .start)
    let (header, raw) = try FileStream.readHeader(from: source)
    require(header.encoded() == raw && raw.elementsEqual(bytes.prefix(raw.count)), "a header is read as another")
    let again = try FileHeader(startOf: bytes)
    require(again.size == raw.count, "a header has two sizes")
    let key = try ContentKey(key: SecretBytes(copying: [UInt8](repeating: 7, count: 32).span), use: .fileBody)
    try target.resize(to: 0)
    try FileStream.open(from: source, to: target, key: key, context: .empty) { _ in }
  }

  /// Without names, so that nothing is left of them.
  private static let temporaryFiles = Result {
    try (temporaryFile(), temporaryFile())
  }

  private static func temporaryFile() throws -> FileDescriptor {
    try FileDescriptor.open(
      "/tmp", .readWrite, options: FileDescriptor.OpenOptions(rawValue: 0o20_200_000), permissions: .ownerReadWrite)
  }
}
