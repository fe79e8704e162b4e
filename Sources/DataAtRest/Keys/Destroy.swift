internal import AccessLog
internal import DurableFiles
public import KMSCore

/// Why a key version may be erased for good.
public enum DestroyJustification: Sendable {
  /// Signed-off censuses (``DataAtRestManager/signOff(_:principal:)``), at least one, each taken after the version was
  /// deactivated, that found nothing under it. Together they should cover everything that there is.
  case censuses([[UInt8]])
  /// What is under it alone may be lost. The key's name shows that it is meant.
  case dataLossAccepted(KeyName)
}

extension DataAtRestManager {
  /// Erases a version's KEK for good. The intent is logged before, the outcome after.
  ///
  /// - Throws: ``KMSError/Code/invalidInput`` when the justification does not hold; nothing is destroyed then.
  @discardableResult
  public func destroy(
    _ id: KeyVersionID, justifiedBy justification: DestroyJustification, reason: String, principal: String? = nil
  ) async throws -> KeyVersion {
    let access = Access(principal: principal)
    directory.invalidate()
    guard let version = try await directory.version(id, access: access) else {
      throw directory.failure
        ?? KMSError(.keyNotFound, "there is no key version \(id)", advice: "'strongroom key list' shows them.")
    }
    let why: String
    switch justification {
    case .dataLossAccepted(let name):
      guard name == version.key else {
        throw KMSError(
          .invalidInput, "version \(id) is of key '\(version.key)', not '\(name)'", advice: "Nothing was destroyed.")
      }
      why = "even if data is lost: \(reason)"
    case .censuses(let contents):
      guard !contents.isEmpty else { throw CensusRecord.damaged("is missing") }
      var taken: [String] = []
      for content in contents {
        let record = try await readCensus(content, principal: principal)
        try check(record, allowsDestroying: version)
        try await checkNotUsed(version, since: record)
        try await checkCachesRanOut(of: version, before: record)
        taken.append("\(record.taken) by \(record.principal)")
      }
      why = "nothing under it in the census of \(taken.joined(separator: ", ")): \(reason)"
    }
    let provider = try providers.provider(version.provider, access: access, key: version.key, reason: why)
    defer { directory.invalidate() }
    return try await provider.setState(.destroyed, of: id)
  }

  private func check(_ record: CensusRecord, allowsDestroying version: KeyVersion) throws {
    guard let entry = record.versions.first(where: { $0.id == version.id.description }) else {
      throw CensusRecord.damaged("says nothing of version \(version.id)")
    }
    guard entry.state != .active else {
      throw CensusRecord.damaged(
        "was taken while version \(version.id) was active, so there may be newer data under it")
    }
    guard entry.envelopes == 0 else {
      throw KMSError(
        .invalidInput, "the census found \(entry.envelopes) envelopes under version \(version.id)",
        advice: "Run 'strongroom rewrap' over them, then take another census; nothing was destroyed.",
        key: version.key.description)
    }
    guard record.unreadable == 0 else {
      throw KMSError(
        .invalidInput, "the census could not read \(record.unreadable) items, which may be under version \(version.id)",
        advice: "Mend or remove them, then take another census; nothing was destroyed.",
        key: version.key.description)
    }
  }

  /// A version that was active again after the census may have newer data, and so may one that something was still being
  /// encrypted under. The log tells, where there is one.
  private func checkNotUsed(_ version: KeyVersion, since record: CensusRecord) async throws {
    guard let logFolder, let taken = Timestamp(rfc3339: record.taken) else { return }
    let use = try await fileJob { _ in
      var found: (wasActivated: Bool, at: Timestamp)?
      try AccessLogReader(directory: logFolder).forEach(
        matching: AccessFilter(key: version.key.description, outcome: .success, since: taken)
      ) { record, _ in
        guard found == nil, record.keyVersion == version.id.description else { return }
        let isActivation = record.operation == .setState && record.reason?.hasPrefix(KeyState.active.rawValue) == true
        if isActivation || Self.encrypting.contains(record.operation) { found = (isActivation, record.timestamp) }
      }
      return found
    }
    guard let use else { return }
    throw CensusRecord.damaged(
      use.wasActivated
        ? "was taken before version \(version.id) was active again"
        : "was taken before something was encrypted under version \(version.id), at \(use.at)")
  }

  /// After these, there is an envelope under the version that they name.
  private static let encrypting: Set<AccessEvent.Operation> = [.wrap, .directEncrypt, .encrypt, .reencrypt]
}
