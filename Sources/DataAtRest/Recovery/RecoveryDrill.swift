internal import DurableFiles
public import Envelope
public import KMSCore
internal import Synchronization
internal import SystemPackage
internal import Telemetry

/// Opens an envelope with a key that was kept offline, and proves so that it can be done: no provider is asked, and no
/// configuration of one is read.
public struct RecoveryDrill: Sendable {
  private let reporter: any AccessReporter

  /// - Parameter reporter: the access log. A drill whose intent it does not take is not begun.
  public init(reporter: any AccessReporter) { self.reporter = reporter }

  /// What was proven.
  public struct Result: Sendable, Hashable {
    /// What the envelope is.
    public let kind: EnvelopeKind
    /// The recipient that the offline key opened.
    public let recipient: KeyVersionID
    /// How the content key was wrapped to it.
    public let algorithm: WrapAlgorithm
    /// Bytes of plaintext, all of them authenticated.
    public var plaintextBytes = 0
    /// Parts that were authenticated one by one; 1 but for a file.
    public var segments = 1
  }

  /// Opens the whole of `source`, in constant memory.
  ///
  /// - Parameters:
  ///   - destination: where the plaintext goes; nil: nowhere.
  ///   - progress: called with the number of plaintext bytes done since the call before.
  /// - Throws: ``KMSError/Code/doesNotOpen``, ``KMSError/Code/notOurs``, ``KMSError/Code/malformedEnvelope``, …; no
  ///   output file remains then.
  public func open(
    _ source: FileEndpoint, with key: OfflineKey, to destination: FileEndpoint? = nil,
    context: EncryptionContext = .empty, principal: String? = nil,
    progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws -> Result {
    let access = Access(principal: principal ?? Access.currentPrincipal, contextNames: context.names)
    let reason = destination.map { "recovered to \($0.name)" } ?? "proof only"
    try await reporter.report(AccessEvent(.recoveryDrill, phase: .intent, access: access, reason: reason))
    return try await logged(.recoveryDrill, access, by: reporter, tracers: TracerWatch()) { event in
      event.reason = reason
      let result = try await fileJob { checkCancellation in
        try destination?.checkIsFree()
        let opened = try source.open()
        defer { if opened.isOurs { try? opened.descriptor.close() } }
        return try FileFailure.mapping("read", source.name) {
          try Self.run(opened.descriptor, key, destination, context) { count in
            progress(count)
            try checkCancellation()
          }
        }
      }
      event.version = result.recipient
      return result
    }
  }

  private static func run(
    _ input: FileDescriptor, _ key: OfflineKey, _ destination: FileEndpoint?, _ context: EncryptionContext,
    progress: @Sendable (Int) throws -> Void
  ) throws -> Result {
    let null = try FileDescriptor.open(FilePath("/dev/null"), .writeOnly, options: .closeOnExec)
    defer { try? null.close() }
    let target = destination ?? .descriptor(null)
    let start = try input.readFully(upTo: 16)
    let kind = EnvelopeKind.detect(start)
    guard kind == .file else {
      let rest = try readAll(input, limit: 2 * DataAtRestManager.fieldLimit, name: "the message")
      return try open(start + rest, kind, key, target, context)
    }
    let header = try FileStream.readHeader(from: input, after: start).0
    let opened = try key.contentKey(of: header.keyBlob)
    let contentKey = try ContentKey(parsing: header.keyBlob.open(with: opened.cek, context: context))
    var result = Result(kind: .file, recipient: opened.recipient.kid, algorithm: opened.recipient.wrapped.algorithm)
    let counts = Mutex((bytes: 0, segments: 0))
    try target.writing { output in
      try FileStream.open(from: input, to: output, key: contentKey, context: context) { count in
        counts.withLock { $0 = ($0.bytes + count, $0.segments + 1) }
        try progress(count)
      }
    }
    (result.plaintextBytes, result.segments) = counts.withLock { $0 }
    return result
  }

  private static func open(
    _ message: [UInt8], _ kind: EnvelopeKind?, _ key: OfflineKey, _ target: FileEndpoint, _ context: EncryptionContext
  ) throws -> Result {
    guard let kind, kind != .encrypt0 else {
      throw KMSError(
        .malformedEnvelope, kind == nil ? "this is no envelope" : "this message has no recipients of its own",
        advice: kind == nil
          ? "Name an encrypted file or field; a column's value must be decoded from base64 first."
          : "Drill the key blob of the shared key that it is under.")
    }
    let envelope = try EncryptMessage(parsing: message, as: kind == .keyBlob ? .keyBlob : .field)
    let opened = try key.contentKey(of: envelope)
    let plaintext = try envelope.open(with: opened.cek, context: context)
    var result = Result(kind: kind, recipient: opened.recipient.kid, algorithm: opened.recipient.wrapped.algorithm)
    result.plaintextBytes = plaintext.count
    try target.writing { output in
      _ = try plaintext.withBytes { bytes throws(any Error) in
        try unsafe bytes.withUnsafeBytes { unsafe try output.writeAll($0) }  // for the call only
      }
    }
    return result
  }
}

extension AccessEvent.Operation {
  static let recoveryDrill = Self(rawValue: "recovery-drill")
}
