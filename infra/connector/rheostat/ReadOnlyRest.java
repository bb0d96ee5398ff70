package rheostat;

import java.util.Map;
import java.util.Optional;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.io.network.netty.InboundChannelHandlerFactory;
import org.apache.flink.shaded.netty4.io.netty.buffer.Unpooled;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelFutureListener;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelHandler;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelHandlerContext;
import org.apache.flink.shaded.netty4.io.netty.channel.SimpleChannelInboundHandler;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.DefaultFullHttpResponse;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.FullHttpRequest;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpHeaderNames;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpMethod;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpResponseStatus;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpVersion;

/**
 * Lets Flink's REST API be looked at and nothing be done through it, where `rheostat.rest.read-only` says so.
 *
 * <p>Flink asks nobody for a credential, and `web.cancel.enable` hides a button alone: PATCH /jobs/ID ends the job still.
 */
public final class ReadOnlyRest implements InboundChannelHandlerFactory {
    private static final ConfigOption<Boolean> READ_ONLY =
            ConfigOptions.key("rheostat.rest.read-only").booleanType().defaultValue(false);

    @Override
    public int priority() {
        return 0;
    }

    @Override
    public Optional<ChannelHandler> createHandler(Configuration configuration, Map<String, String> responseHeaders) {
        return configuration.get(READ_ONLY) ? Optional.of(new Guard()) : Optional.empty();
    }

    private static final class Guard extends SimpleChannelInboundHandler<FullHttpRequest> {
        Guard() {
            super(false); // what passes is the next handler's to release
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, FullHttpRequest request) {
            // GET …/yarn-cancel is of old, when YARN's proxy took nothing but GET.
            if (request.method().equals(HttpMethod.GET) && !request.uri().contains("/yarn-")) {
                context.fireChannelRead(request);
                return;
            }
            request.release();
            var response = new DefaultFullHttpResponse(
                    HttpVersion.HTTP_1_1, HttpResponseStatus.METHOD_NOT_ALLOWED, Unpooled.EMPTY_BUFFER);
            response.headers().set(HttpHeaderNames.ALLOW, "GET");
            response.headers().set(HttpHeaderNames.CONTENT_LENGTH, 0);
            context.writeAndFlush(response).addListener(ChannelFutureListener.CLOSE);
        }
    }
}
