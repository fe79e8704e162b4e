import CryptoPrimitives
package import KMSCore

/// What the log writes of itself.
extension EventLine {
  /// Who wrote it.
  static let own = Access(principal: "strongroom")

  /// The first record of each file of a sealed log.
  ///
  /// - Parameters:
  ///   - origin: which writer.
  ///   - file: the file's own name, so that it cannot be passed off as another.
  ///   - tree: the tree of the records before it, so that it can be checked when older files are gone.
  ///   - index: hash of the index's last line: in a writer's first file, of its own.
  static func file(origin: String, file: String, tree: MerkleFrontier, index: TreeHash) -> EventLine {
    EventLine(
      AccessEvent(.init(rawValue: "log-file"), access: own), type: .file,
      fields: [
        (#","log":"#, origin), (#","file":"#, file), (#","tree":"#, tree.text),
        (#","index":"#, Base64.encode(index.bytes)),
      ])
  }

  /// A log that was sealed has nothing to show life of.
  static func heartbeat() -> EventLine {
    var line = EventLine(AccessEvent(.init(rawValue: "log-heartbeat"), access: own), type: .heartbeat)
    line.beginsLog = false
    return line
  }

  /// A target of copies lost lines; they are in the log.
  static func copiesLost(_ count: Int, _ target: String) -> AccessEvent {
    AccessEvent(
      .logCopy, access: own, errorCode: .accessLogUnavailable, errorMessage: "\(target) did not take \(count) lines")
  }

  /// Nor does it go on for what became of its copies.
  static func copiesLost(_ event: AccessEvent) -> EventLine {
    var line = EventLine(event, type: .copy)
    line.beginsLog = false
    return line
  }

  /// The last record of a writer, before its last checkpoint.
  ///
  /// - Parameters:
  ///   - torn: what a crash had left of a line, when the log is ended by another process.
  ///   - changed: when the file was last changed before that.
  ///   - isListed: the index is to have the log's end too.
  static func end(
    _ reason: String, torn: [UInt8] = [], changed: Timestamp? = nil, isListed: Bool = true
  ) -> EventLine {
    var fields: [(StaticString, String)] = []
    if isListed { fields.append((#","listed":"#, WriterIndex.name)) }
    if let changed { fields.append((#","changed":"#, changed.description)) }
    if !torn.isEmpty { fields += [(#","torn":"#, String(decoding: torn.prefix(textLimit), as: UTF8.self))] }
    return EventLine(
      AccessEvent(.init(rawValue: "log-end"), access: own, reason: reason), type: .end, fields: fields)
  }

  /// Whether the index has the log's end too: one from before that was so does not say it, nor one that is not in the
  /// index at all.
  static func isListed(_ end: ArraySlice<UInt8>) -> Bool { contains(end, listedMark) }

  private static let listedMark = Array(#","listed":"\#(WriterIndex.name)""#.utf8)

  /// Of a log that another process ends.
  static func closing(torn: [UInt8], changed: Timestamp?, isListed: Bool) -> EventLine {
    end(closingReason, torn: torn, changed: changed, isListed: isListed)
  }

  static func changed(_ closing: ArraySlice<UInt8>) -> Timestamp? {
    JSONObject(closing)?["changed"]?.string.flatMap { Timestamp(rfc3339: $0) }
  }

  private static let closingReason = "its writer died; closed at the next start"

  /// Whether another process ended the log by it.
  static func isClosing(_ line: ArraySlice<UInt8>) -> Bool {
    contains(line, endMark) && AccessRecord(line: line).map { $0.type == .end && $0.reason == closingReason } == true
  }

  private static let endMark = Array(#""record":"end""#.utf8)

  static func isEnd(_ line: ArraySlice<UInt8>) -> Bool {
    contains(line, endMark) && AccessRecord(line: line)?.type == .end
  }

  /// The call that signed a checkpoint, or did not.
  static func signed(_ event: AccessEvent) -> EventLine { EventLine(event, type: .checkpoint) }

  /// A checkpoint itself: no record, and without a number.
  static func checkpoint(_ note: SignedNote) -> EventLine {
    var line = Array(#"{"checkpoint":"#.utf8)
    line.append(jsonString: note.description)
    line += "}\n".utf8
    return EventLine(unnumbered: line)
  }

  static let checkpointPrefix = Array(#"{"checkpoint":"#.utf8)

  /// The note in a line that ``checkpoint(_:)`` made; nil for one that is different by a byte.
  static func note(in line: ArraySlice<UInt8>) -> SignedNote? {
    guard line.starts(with: checkpointPrefix), let text = JSONObject(line)?["checkpoint"]?.string,
      let note = SignedNote(text), checkpoint(note).bytes.dropLast() == line
    else { return nil }
    return note
  }
}

extension AccessEvent.Operation {
  /// Handing a copy of the log's lines on.
  package static let logCopy = Self(rawValue: "log-copy")
}
