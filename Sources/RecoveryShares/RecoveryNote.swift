package import KMSCore

/// The text file beside the shares: no secret, for whoever finds them in ten years.
package struct RecoveryNote: Sendable, Hashable {
  package var isReady = false
  package let version: KeyVersionID
  package let provider: String
  package let shares: Int
  package let threshold: Int

  package init(version: KeyVersionID, provider: String, shares: Int, threshold: Int) throws {
    try SecretSharing.check(shares: shares, threshold: threshold)
    self.version = version
    self.provider = provider
    self.shares = shares
    self.threshold = threshold
  }

  package func text(of key: KeyName) -> String {
    """
    Recovery key of Strongroom: opens everything that was encrypted while it was a recovery recipient.

    key: \(key)
    version: \(version)
    provider: \(provider)
    shares: \(shares)
    threshold: \(threshold)
    state: \(isReady ? "ready" : "being made")

    Any \(threshold) of the \(shares) shares (files \(key).001, \(key).002, ...) give the key back; fewer tell nothing.
    With Debian's package libgfshare-bin, and Strongroom's open-envelope.py, on a machine without a network:

      gfcombine -o recovery.key \(key).NNN \(key).NNN ...
      open-envelope.py FILE -o OUTPUT --recovery-key recovery.key

    """
  }

  /// Reads what ``text(of:)`` writes.
  package init(parsing text: String, of key: KeyName) throws {
    var fields: [Substring: String] = [:]
    for line in text.split(separator: "\n") {
      let sides = line.split(separator: ":", maxSplits: 1)
      if sides.count == 2, let value = sides.last?.drop(while: { $0 == " " }) { fields[sides[0]] = String(value) }
    }
    guard fields["key"] == key.description, let provider = fields["provider"],
      let id = try? KeyVersionID(parsing: fields["version"] ?? ""), let shares = fields["shares"].flatMap({ Int($0) }),
      let threshold = fields["threshold"].flatMap({ Int($0) }), let state = fields["state"],
      state == "ready" || state == "being made"
    else {
      throw KMSError(
        .outputExists, "the note of recovery key '\(key)' is there already and not as it was written",
        advice: "Look at it; choose another folder or another name.")
    }
    try self.init(version: id, provider: provider, shares: shares, threshold: threshold)
    isReady = state == "ready"
  }
}
