package org.apache.spark.scheduler.cluster.mesoslite;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A connection over loopback to the scheduler in the Python process: one JSON object a line in both
 * directions, which mesoslite_spark/messages.py describes. It begins with a token.
 */
public final class Link {
    /** What the scheduler says. */
    interface Listener {
        void lost(String executor, int exitCode, boolean causedByApp, String why);

        void failed(String why);
    }

    private static final int LINE_BYTES_MAX = 256 * 1024;
    private static final int CONNECT_MS_MAX = 10_000;
    /** A master that is away holds up the end of a framework for 10 s, and more is no use. */
    private static final int END_MS_MAX = 20_000;
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<Integer, String> TOKENS = new ConcurrentHashMap<>();

    private final Socket socket = new Socket();
    private final Listener listener;
    private final Thread reader = new Thread(this::read, "mesoslite-link");
    private final String token;
    private volatile boolean closing;

    /** Said by the Python process itself: so the token is in no configuration that is shown. */
    public static void admit(int port, String token) {
        TOKENS.put(port, token);
    }

    Link(int port, Listener listener) throws IOException {
        this.listener = listener;
        this.token = TOKENS.remove(port);
        if (token == null) {
            throw new IOException("mesoslite_spark.session() makes such a master, and nobody else");
        }
        socket.setTcpNoDelay(true);
        socket.connect(
                new InetSocketAddress(InetAddress.getLoopbackAddress(), port), CONNECT_MS_MAX);
    }

    void open() {
        say("hello", Map.of("token", token));
        reader.setDaemon(true);
        reader.start();
    }

    /** What cannot be said is dropped: the reader sees the end of the connection, and tells. */
    synchronized void say(String kind, Map<String, ?> fields) {
        ObjectNode message = JSON.createObjectNode().put("kind", kind);
        fields.forEach((name, value) -> message.set(name, JSON.valueToTree(value)));
        try {
            OutputStream out = socket.getOutputStream();
            out.write((message + "\n").getBytes(StandardCharsets.UTF_8));
            out.flush();
        } catch (IOException ended) {
            closeSocket();
        }
    }

    /** Says the end, and waits for the other side's. */
    void close() {
        closing = true;
        say("stopped", Map.of());
        try {
            if (Thread.currentThread() != reader) {
                reader.join(END_MS_MAX);
            }
        } catch (InterruptedException hurry) {
            Thread.currentThread().interrupt();
        }
        closeSocket();
    }

    private void read() {
        String why = "the mesoslite scheduler of this application has ended";
        try {
            InputStream in = new BufferedInputStream(socket.getInputStream());
            for (byte[] line = lineOf(in); line != null; line = lineOf(in)) {
                hear(JSON.readTree(line));
            }
        } catch (IOException | RuntimeException error) {
            why += ": " + error.getMessage();
        }
        if (!closing) {
            listener.failed(why);
        }
    }

    private void hear(JsonNode message) throws IOException {
        String kind = message.required("kind").asText();
        switch (kind) {
            case "lost" -> listener.lost(
                    message.required("executor").asText(),
                    message.required("exit_code").asInt(),
                    message.required("caused_by_app").asBoolean(),
                    message.required("why").asText());
            case "failed" -> {
                closing = true;  // what ends the connection is told already
                listener.failed(message.required("why").asText());
            }
            default -> throw new IOException("the scheduler says " + kind);
        }
    }

    private static byte[] lineOf(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int each = in.read(); each != '\n'; each = in.read()) {
            if (each < 0) {
                return null;
            }
            if (line.size() >= LINE_BYTES_MAX) {
                throw new IOException("a line of more than " + LINE_BYTES_MAX + " bytes");
            }
            line.write(each);
        }
        return line.toByteArray();
    }

    private void closeSocket() {
        try {
            socket.close();
        } catch (IOException ignored) {
            // It is closed either way.
        }
    }
}
