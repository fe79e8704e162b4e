internal import AccessLog
internal import CryptoPrimitives
internal import Envelope
internal import FoundationEssentials
public import KMSCore

/// A census that is kept: a line of JSON, and a seal over it that only somebody who may use the organisation's key
/// can make. `key destroy` asks for one.
///
/// The seal is an empty message encrypted under the configured key, with the line's SHA-256 as its context.
public struct CensusRecord: Sendable, Hashable, Codable {
  /// `strongroom-census-1`.
  public let format: String
  /// RFC 3339.
  public let taken: String
  /// Who took it.
  public let principal: String
  /// Where: everything that was looked at.
  public let places: [String]
  /// Envelopes that were read.
  public let envelopes: Int
  /// What could not be read.
  public let unreadable: Int
  /// What was left alone, as it is no envelope; nil where it was not counted.
  public let passedOver: Int?
  /// Every version that there was.
  public let versions: [Entry]

  /// One version.
  public struct Entry: Sendable, Hashable, Codable {
    /// As `key list` prints it.
    public let id: String
    /// The key's name.
    public let key: String
    /// Configured name of the provider.
    public let provider: String
    /// When the census was begun.
    public let state: KeyState
    /// Envelopes that need it.
    public let envelopes: Int
  }

  static let currentFormat = "strongroom-census-1"

  /// The result of a census over `places`.
  public init(_ census: Census, places: [String], principal: String) {
    format = Self.currentFormat
    taken = census.taken.description
    self.principal = principal
    self.places = places
    envelopes = census.envelopes
    unreadable = census.failures.count
    passedOver = census.passedOver
    versions = census.versions.map { version in
      Entry(
        id: version.id.description, key: version.key.description, provider: version.provider, state: version.state,
        envelopes: census.envelopesByVersion[version.id] ?? 0)
    }
  }

  fileprivate func line() throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(self))
  }

  fileprivate static func context(_ line: [UInt8]) throws -> EncryptionContext {
    try EncryptionContext([
      (name: "purpose", value: "census"), (name: "sha256", value: digest(line)),
    ])
  }

  fileprivate static func digest(_ line: [UInt8]) -> String { hex(SHA256.digest(prefix: [], line.span)) }

  static func damaged(_ problem: String) -> KMSError {
    KMSError(.invalidInput, "the census \(problem)", advice: "Take one with 'strongroom census PATH… --sign-off FILE'.")
  }
}

extension DataAtRestManager {
  /// Signs a census off, in the access log as well.
  ///
  /// - Parameter key: the key that seals it, the configured one when nil. It must outlive what the census is about.
  /// - Returns: the file's content: the record's line and the seal's.
  public func signOff(
    _ record: CensusRecord, key: KeyName? = nil, principal: String? = nil
  ) async throws -> [UInt8] {
    let line = try record.line()
    let access = Access(principal: principal, contextNames: ["purpose", "sha256"])
    return try await logged(.census, access) { event in
      let context = try CensusRecord.context(line)
      // The hash lets anybody compare the file with the log, also when the key that sealed it is gone.
      event.reason =
        "\(record.envelopes) envelopes, \(record.unreadable) unreadable, sha256 \(CensusRecord.digest(line))"
      event.key = key ?? configuration.kmsKeyID
      let seal = try await encrypt([], context: context, key: key, principal: principal)
      return line + [0x0A] + Array(Data(seal).base64EncodedData()) + [0x0A]
    }
  }

  /// Reads a census that was signed off.
  ///
  /// - Throws: ``KMSError/Code/invalidInput`` for another file, ``KMSError/Code/doesNotOpen`` when it was changed.
  public func readCensus(_ content: [UInt8], principal: String? = nil) async throws -> CensusRecord {
    let lines = content.split(separator: 0x0A)
    guard lines.count == 2, let seal = Data(base64Encoded: Data(lines[1])),
      let record = try? JSONDecoder().decode(CensusRecord.self, from: Data(lines[0])),
      record.format == CensusRecord.currentFormat
    else { throw CensusRecord.damaged("is not a signed-off one") }
    do {
      _ = try await decrypt(
        Array(seal), context: try CensusRecord.context(Array(lines[0])), principal: principal, allowCompromised: false)
    } catch let error as KMSError where error.code == .doesNotOpen || error.code == .malformedEnvelope {
      throw KMSError(
        .doesNotOpen, "the census was changed after it was signed off", advice: "Take another; nothing was destroyed.")
    }
    return record
  }
}

extension AccessEvent.Operation {
  static let census = Self(rawValue: "census")
}

private func hex(_ bytes: [UInt8]) -> String {
  bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
