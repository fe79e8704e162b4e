import CryptoPrimitives
public import KMSCore

/// A text signed by one key: the C2SP signed-note format with an ECDSA signature (type 2).
struct SignedNote: Sendable, Hashable {
  /// Lines, each with its newline.
  let text: String
  let keyName: String
  let keyID: [UInt8]
  let signature: [UInt8]

  init(text: String, keyName: String, keyID: [UInt8], signature: [UInt8]) {
    self.text = text
    self.keyName = keyName
    self.keyID = keyID
    self.signature = signature
  }

  var description: String { "\(text)\n— \(keyName) \(Base64.encode(keyID + signature))\n" }

  /// Reads what ``description`` gives, and nothing that differs by a byte.
  init?(_ note: String) {
    guard let blank = note.range(ofLast: "\n\n"), note.hasSuffix("\n") else { return nil }
    text = String(note[..<blank.lowerBound]) + "\n"
    let parts = note[blank.upperBound...].dropLast().split(separator: " ", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "—", let bytes = Base64.decode(parts[2]), bytes.count > 4 else { return nil }
    keyName = String(parts[1])
    keyID = Array(bytes[..<4])
    signature = Array(bytes[4...])
    guard description == note, !note.utf8.contains(where: { $0 < 0x20 && $0 != 0x0A }) else { return nil }
  }
}

extension String {
  fileprivate func range(ofLast text: String) -> Range<Index>? {
    var at = endIndex
    while at > startIndex {
      at = utf8.index(before: at)
      if self[at...].utf8.starts(with: text.utf8) { return at..<utf8.index(at, offsetBy: text.utf8.count) }
    }
    return nil
  }
}

/// Which key signs a log, for those who check it: `NAME+HASH+KEY`, the encoding of the C2SP signed-note tools.
public struct LogVerifierKey: Sendable, Hashable, CustomStringConvertible {
  /// Name in the signatures.
  public let name: String
  /// SubjectPublicKeyInfo (RFC 5280) in DER, of a key on P-256.
  public let publicKey: [UInt8]
  /// The first four bytes of SHA-256 of the public key.
  let id: [UInt8]
  // Nil where it is none on P-256: then nothing is its signature.
  private let key: ECDSAPublicKey?

  private init(name: String, publicKey: [UInt8]) {
    self.name = name
    self.publicKey = publicKey
    id = Array(SHA256.digest(publicKey.span)[..<4])
    key = ECDSAPublicKey(der: publicKey)
  }

  /// A key as a provider gives it.
  public init(_ key: SigningKey) { self.init(name: key.name.description, publicKey: key.publicKey) }

  public static func == (a: Self, b: Self) -> Bool { a.name == b.name && a.publicKey == b.publicKey }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(name)
    hasher.combine(publicKey)
  }

  public var description: String {
    "\(name)+\(id.map { [hexDigit($0 >> 4), hexDigit($0 & 15)] }.map { String(decoding: $0, as: UTF8.self) }.joined())"
      + "+\(Base64.encode([2] + publicKey))"
  }

  /// Reads one line.
  ///
  /// - Throws: ``KMSError/Code/invalidInput``.
  public init(parsing text: String) throws(KMSError) {
    let parts = text.split(separator: "+", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3, !parts[0].isEmpty, let key = Base64.decode(parts[2]), key.first == 2 else {
      throw Self.invalid(text)
    }
    self.init(name: String(parts[0]), publicKey: Array(key.dropFirst()))
    guard description == text else { throw Self.invalid(text) }
  }

  private static func invalid(_ text: String) -> KMSError {
    KMSError(
      .invalidInput, "'\(text.prefix(60))' is no public key of an access log",
      advice: "Give the line that 'strongroom log key' printed, or a file with it.")
  }

  /// Whether the note names this key and its signature is the key's.
  func verifies(_ note: SignedNote) -> Bool {
    note.keyName == name && note.keyID == id
      && key?.verifies(note.signature, of: Array(note.text.utf8)) == true
  }
}

/// What a checkpoint says (C2SP tlog-checkpoint): the log of which writer has how many records, with which root.
struct Checkpoint: Sendable, Hashable {
  let origin: String
  let size: UInt64
  let root: TreeHash

  var text: String { "\(origin)\n\(size)\n\(Base64.encode(root.bytes))\n" }

  init(origin: String, size: UInt64, root: TreeHash) {
    self.origin = origin
    self.size = size
    self.root = root
  }

  init?(text: String) {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard lines.count == 4, let size = UInt64(lines[1]), let root = Base64.decode(lines[2]).flatMap({ TreeHash($0) })
    else { return nil }
    self.init(origin: String(lines[0]), size: size, root: root)
    guard self.text == text else { return nil }
  }
}
