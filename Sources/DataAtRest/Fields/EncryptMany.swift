internal import AccessLog
internal import CryptoPrimitives
internal import Envelope
public import KMSCore

/// Many fields at once: logged in one go, by one record for all that are alike in key version.
extension DataAtRestManager {
  /// Encrypts fields, each into an envelope of its own.
  ///
  /// - Parameters:
  ///   - partition: whose shared DEK they are encrypted under; nil: none's.
  ///   - key: the configuration's key when nil.
  ///   - principal: on whose behalf; ``withPrincipal(_:_:)``'s when nil.
  /// - Returns: what encryption gives for each, in their order.
  /// - Throws: ``KMSError`` of the first that cannot be encrypted, with its number from 0; then none is given out.
  public func encrypt(
    _ fields: [Field], partition: String? = nil, key: KeyName? = nil, principal: String? = nil
  ) async throws -> [[UInt8]] {
    try await logged(.encrypt, Access(principal: principal)) { event, tally in
      let config = try enabledConfiguration()
      let name = key ?? config.kmsKeyID
      var current: (key: SealingKey, cipher: CipherContext)?
      return try await Self.each(fields) { field in
        if let (key, cipher) = current, key.isFor(field.context), field.bytes.count <= Self.fieldLimit,
          key.take(bytes: field.bytes.count)
        {
          tally.add(key.version, Access(contextNames: field.context.names))
          return try key.sealer.seal(field.bytes.span, context: field.context, with: cipher)
        }
        event.access.take(field.context)
        let (sealed, key) = try await seal(
          field.bytes, context: field.context, partition: partition, key: name, config, access: event.access,
          event: &event)
        current = try key.map { ($0, try $0.makeCipher()) }
        tally.add(event)
        return sealed
      }
    }
  }

  /// Opens what ``encrypt(_:partition:key:principal:)`` gave, or what was encrypted one by one.
  ///
  /// - Parameter allowCompromised: whether a key version that is marked compromised may be used.
  /// - Returns: the plaintext of each, in their order.
  /// - Throws: ``KMSError`` of the first that does not open, with its number from 0; then none is given out.
  public func decrypt(
    _ fields: [Field], principal: String? = nil, allowCompromised: Bool = false
  ) async throws -> [[UInt8]] {
    try await logged(.decrypt, Access(principal: principal)) { event, tally in
      let config = try enabledConfiguration()
      var current: (key: OpeningKey, frame: DataKeys.Frame, cipher: CipherContext)?
      return try await Self.each(fields) { field in
        if let (key, frame, cipher) = current, let parts = FieldParts(field.bytes), frame.fits(parts, field.context),
          let plaintext = try? key.opener.open(parts, context: field.context, with: cipher)
        {
          tally.add(key.version, Access(principal: nil, context: field.context))
          return plaintext
        }
        event.access.take(field.context)
        let (plaintext, key) = try await open(
          field.bytes, context: field.context, allowCompromised: allowCompromised, config, access: event.access,
          event: &event)
        current = try key.flatMap { key in
          try FieldParts(field.bytes).map { parts in
            (
              key, DataKeys.Frame(bytes: parts.frame, context: parts.bindsContext ? field.context.encoded : nil),
              try key.makeCipher()
            )
          }
        }
        tally.add(event)
        return plaintext
      }
    }
  }

  private static func each(
    _ fields: [Field], _ body: (Field) async throws -> [UInt8]
  ) async throws -> [[UInt8]] {
    var results: [[UInt8]] = []
    results.reserveCapacity(fields.count)
    for (i, field) in fields.enumerated() {
      if i % 256 == 255 {
        try Task.checkCancellation()
        await Task.yield()
      }
      do { results.append(try await body(field)) } catch let error as KMSError
        where error.code != .accessLogUnavailable
      {
        throw KMSError(
          error.code, "field \(i): \(error.message)", advice: error.advice, provider: error.provider, key: error.key,
          operation: error.operation, cause: error.cause)
      }
    }
    return results
  }
}
