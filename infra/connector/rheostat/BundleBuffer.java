package rheostat;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.ByteBuffer;

/** What goes to Python in one piece: big-endian numbers, and bytes after their length, which is -1 where there are none. */
final class BundleBuffer {
    private ByteBuffer buffer = ByteBuffer.allocate(1 << 14);

    BundleBuffer putInt(int value) {
        room(Integer.BYTES).putInt(value);
        return this;
    }

    BundleBuffer putLong(long value) {
        room(Long.BYTES).putLong(value);
        return this;
    }

    BundleBuffer putText(String value) {
        return putBytes(value.getBytes(UTF_8));
    }

    BundleBuffer putBytes(byte[] value) {
        if (value == null) {
            return putInt(-1);
        }
        putInt(value.length);
        room(value.length).put(value);
        return this;
    }

    byte[] toBytes() {
        byte[] bytes = new byte[buffer.position()];
        buffer.flip().get(bytes);
        return bytes;
    }

    static byte[] bytes(ByteBuffer from) {
        byte[] bytes = new byte[from.getInt()];
        from.get(bytes);
        return bytes;
    }

    private ByteBuffer room(int size) {
        if (buffer.remaining() < size) {
            buffer = ByteBuffer.allocate(2 * (buffer.capacity() + size)).put(buffer.flip());
        }
        return buffer;
    }
}
