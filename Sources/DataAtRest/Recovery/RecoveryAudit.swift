internal import AccessLog
internal import Envelope
public import KMSCore

/// Whether envelopes have the recovery recipients that are configured, and whether these would open them.
public struct RecoveryAudit: Sendable {
  /// What is wrong with one recipient of one envelope.
  public enum Fault: String, Sendable {
    /// The envelope has no recipient for the key.
    case missing
    /// It has one for an earlier version of the key.
    case earlierVersion = "earlier-version"
    /// What stands under the key's id is not the envelope's content key wrapped to it.
    case wrong
  }

  /// An envelope that cannot be recovered by a key, as far as can be told.
  public struct Finding: Sendable {
    /// Where the envelope is.
    public let name: String
    /// The recovery key.
    public let key: KeyName
    /// What is wrong.
    public let fault: Fault
  }

  /// The recovery keys' current versions.
  public let versions: [KeyVersion]
  /// What a key wrapped to each of them looks like: a sample.
  let samples: [KeyVersionID: WrappedKey]

  /// Envelopes that were looked at.
  public internal(set) var envelopes = 0
  /// Recipients that were compared with a new wrap of the same content key, and are equal to it.
  public internal(set) var verified = 0
  /// Recipients of public keys: wrapping is random there, so that only their presence can be told.
  public internal(set) var presentOnly = 0
  /// Messages under a shared DEK; their key's blob has the recipients.
  public internal(set) var underSharedKeys = 0
  /// Recipients that are missing or wrong.
  public internal(set) var findings: [Finding] = []
  /// Envelopes that could not be looked into.
  public internal(set) var failures: [(name: String, error: KMSError)] = []

  init(versions: [KeyVersion], samples: [KeyVersionID: WrappedKey]) {
    self.versions = versions
    self.samples = samples
  }
}

extension DataAtRestManager {
  /// Begins an audit. Each recovery key is tried: it must wrap.
  ///
  /// - Throws: ``KMSError/Code/configurationInvalid`` when no recovery keys are configured, and as when encrypting.
  public func beginRecoveryAudit(principal: String? = nil) async throws -> RecoveryAudit {
    let access = Access(principal: principal)
    let versions = try await recoveryVersions(access: access)
    guard !versions.isEmpty else {
      throw KMSError(
        .configurationInvalid, "no recovery keys are configured",
        advice: "Make one with 'strongroom recovery create' and name it under data-at-rest.recovery-recipients.")
    }
    var samples: [KeyVersionID: WrappedKey] = [:]
    for version in versions {
      let provider = try providers.provider(version.provider, access: access, key: version.key, reason: "audit")
      samples[version.id] = try await provider.wrap(
        .random(count: 32), under: version.id, aad: EncryptMessage.recipientAAD(.empty))
    }
    return RecoveryAudit(versions: versions, samples: samples)
  }

  /// Looks at what is in a source: content keys are wrapped to the recovery keys again, inside the token where it
  /// can, and compared. Nothing is changed.
  public func audit<Source: RewrapSource>(
    _ source: inout Source, in audit: inout RecoveryAudit, principal: String? = nil,
    progress: (_ items: Int, _ fraction: Double?) -> Void = { _, _ in }
  ) async throws {
    while let batch = try await source.nextBatch() {
      for item in batch {
        try Task.checkCancellation()
        do { try await look(at: item, in: &audit, principal) } catch let error as KMSError
          where error.code != .accessLogUnavailable
        {
          audit.failures.append((item.name, error))
        }
      }
      _ = try await source.replace([:])
      progress(batch.count, source.fractionDone)
    }
  }

  private func look(at item: StoredEnvelope, in audit: inout RecoveryAudit, _ principal: String?) async throws {
    let access = Access(principal: principal, context: item.context)
    let bytes = try item.envelope.get()
    guard EnvelopeKind.detect(bytes) != .encrypt0 else {
      let id = try KeyVersionID(Encrypt0Message(parsing: bytes).keyID)
      guard try await directory.version(id, access: access) != nil else {
        audit.underSharedKeys += 1
        return
      }
      // Encrypted by the provider itself: there is no content key that somebody else could have.
      audit.envelopes += 1
      audit.findings += audit.versions.map { .init(name: item.name, key: $0.key, fault: .missing) }
      return
    }
    let message = try RewrappableMessage(parsing: bytes).message
    var (verified, presentOnly) = (0, 0)
    var findings: [RecoveryAudit.Finding] = []
    for version in audit.versions {
      let mine = message.recipients.filter { $0.kid == version.id }
      let fault: RecoveryAudit.Fault?
      if mine.isEmpty {
        fault = try await hasOther(version.key, message, access) ? .earlierVersion : .missing
      } else if let sample = audit.samples[version.id], sample.algorithm != .a256KW {
        let isOne = mine.allSatisfy {
          $0.wrapped.algorithm == sample.algorithm && $0.wrapped.bytes.count == sample.bytes.count
        }
        presentOnly += isOne ? 1 : 0
        fault = isOne ? nil : .wrong
      } else {
        let expected = try await rewrappedKey(of: message, for: version, context: item.context, access: access)
        let isRight = mine.allSatisfy { $0.wrapped == expected }
        verified += isRight ? 1 : 0
        fault = isRight ? nil : .wrong
      }
      if let fault { findings.append(.init(name: item.name, key: version.key, fault: fault)) }
    }
    audit.envelopes += 1
    audit.verified += verified
    audit.presentOnly += presentOnly
    audit.findings += findings
  }

  private func hasOther(_ key: KeyName, _ message: EncryptMessage, _ access: Access) async throws -> Bool {
    for recipient in message.recipients {
      if try await directory.version(recipient.kid, access: access)?.key == key { return true }
    }
    return false
  }
}
