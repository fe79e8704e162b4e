internal import AccessLog
internal import Envelope
internal import KMSCore

extension DataAtRestManager {
  /// A header that holds `contentKey`, wrapped for the current recipients.
  func makeHeader(
    for contentKey: borrowing ContentKey, key: KeyName, context: EncryptionContext,
    size: Int = FileHeader.defaultSize, access: Access, event: inout AccessEvent
  ) async throws -> FileHeader {
    let cek = SecretBytes.random(count: 32)
    let recipients = try await recipients(for: cek, key: key, context: context, access: access, event: &event)
    let plaintext = contentKey.encoded()
    let keyBlob = try plaintext.withBytes { span in
      try EncryptMessage.seal(span, as: .keyBlob, context: context, cek: cek, recipients: recipients)
    }
    return try FileHeader(forNewFile: keyBlob, least: size)
  }

  /// A file takes as long as it is long. Its key may have been rotated meanwhile, and a census, which cannot see what has
  /// no name yet, may have let the version be destroyed that its header was made for.
  ///
  /// - Parameter canChange: whether a new header can be put in the place of the one that is written.
  /// - Returns: a header of the same size under the versions of now; nil where those of then still serve.
  /// - Throws: where the header cannot be changed, and would not open.
  func newerHeader(
    than header: FileHeader, canChange: Bool, for contentKey: borrowing ContentKey, key: KeyName,
    context: EncryptionContext, access: Access, event: inout AccessEvent
  ) async throws -> FileHeader? {
    var (isCurrent, opens) = (true, false)
    for recipient in header.keyBlob.recipients {
      let version = try await directory.version(recipient.kid, access: access)
      // A provider that cannot be asked now says nothing against it.
      let state = version?.state ?? (directory.failure == nil ? .destroyed : .active)
      isCurrent = isCurrent && state == .active
      opens = opens || state != .destroyed
    }
    guard !isCurrent, canChange || !opens else { return nil }
    let newer =
      canChange
      ? try await makeHeader(
        for: contentKey, key: key, context: context, size: header.size, access: access, event: &event) : nil
    guard let newer, newer.size == header.size else {
      throw KMSError(
        .keyStateForbids, "the key version that the file was encrypted under was left while it was written",
        advice: "Remove what was written, and encrypt it again.", key: key.description)
    }
    return newer
  }
}
