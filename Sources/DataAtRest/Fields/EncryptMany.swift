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
      var recent: OwnSealingKey?
      return try await Self.each(fields) { field in
        guard let recent, recent.isFor(field.context), field.bytes.count <= Self.fieldLimit,
          recent.take(bytes: field.bytes.count)
        else { return nil }
        tally.add(recent.version.id, of: recent.version, names: field.context.names)
        return try recent.seal(field.bytes.span, context: field.context)
      } otherwise: { field in
        event.begin(field.context)
        let (sealed, key) = try await seal(
          field.bytes, context: field.context, partition: partition, key: name, config, access: event.access,
          event: &event)
        recent = try key.map { try $0.makeOwn(for: $0.share) }
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
      var recent: OwnOpeningKey?
      return try await Self.each(fields) { field in
        let message = field.bytes.span
        guard let recent, let parts = recent.parts(of: message, context: field.context),
          let plaintext = try? recent.open(message, parts, context: field.context)
        else { return nil }
        tally.add(
          recent.version.id, of: recent.version, names: field.context.names, tag: field.context.tag)
        return plaintext
      } otherwise: { field in
        event.begin(field.context)
        let (plaintext, key) = try await open(
          field.bytes, context: field.context, allowCompromised: allowCompromised, config, access: event.access,
          event: &event)
        recent = nil
        if let key, let parts = FieldParts(of: field.bytes.span) {
          // Bound by any of its recipients, it is opened for no other context, whichever of them it was opened by.
          let recipients = parts.isShared ? [] : try EncryptMessage(parsing: field.bytes, as: .field).recipients
          let context = recipients.contains(where: \.bindsContext) ? field.context.encoded : nil
          recent = try key.makeOwn(for: DataKeys.Alike(field.bytes, parts, context: context))
        }
        tally.add(event)
        return plaintext
      }
    }
  }

  /// - Parameter quickly: nil where it takes more than that.
  private static func each(
    _ fields: [Field], quickly: (borrowing Field) throws -> [UInt8]?, otherwise: (Field) async throws -> [UInt8]
  ) async throws -> [[UInt8]] {
    var results: [[UInt8]] = []
    results.reserveCapacity(fields.count)
    do {
      while results.count < fields.count {
        try Task.checkCancellation()
        if try !append(fields.span.extracting(results.count...), to: &results, quickly) {
          results.append(try await otherwise(fields[results.count]))
        } else if results.count < fields.count {
          await Task.yield()
        }
      }
    } catch let error as KMSError where error.code != .accessLogUnavailable {
      throw KMSError(
        error.code, "field \(results.count): \(error.message)", advice: error.advice, provider: error.provider,
        key: error.key, operation: error.operation, cause: error.cause)
    }
    return results
  }

  // About a millisecond's: a field costs as much as a KiB. To let others have the thread costs 15 µs.
  private static let enough = 2 << 20

  /// Those before the first that takes more, as long as others need not have the thread.
  ///
  /// Of what need not be copyable: else each field would be copied, and each copy's references counted.
  ///
  /// - Returns: false when the next one takes more.
  private static func append<Field: ~Copyable>(
    _ fields: Span<Field>, to results: inout [[UInt8]], _ quickly: (borrowing Field) throws -> [UInt8]?
  ) throws -> Bool {
    var work = 0
    for i in fields.indices where work < enough {
      guard let result = try quickly(fields[i]) else { return false }
      work += 1024 + result.count
      results.append(result)
    }
    return true
  }
}

extension AccessEvent {
  /// The next one of many: what is known of the one before is not true of it.
  fileprivate mutating func begin(_ context: EncryptionContext) {
    (key, version, provider, cached) = (nil, nil, nil, false)
    access.take(context)
  }
}
